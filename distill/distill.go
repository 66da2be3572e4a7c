package distill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
)

// Point is what one step measured.
type Point struct {
	Step    int                `json:"step"`   // counted from 1
	Tokens  int64              `json:"tokens"` // read so far
	Loss    float64            `json:"loss"`   // weighted sum of the losses
	Losses  map[string]float64 `json:"losses,omitempty"`
	Norm    float64            `json:"grad_norm"` // before clipping
	Rate    float64            `json:"learning_rate"`
	Speed   float64            `json:"tokens_per_second"`
	Held    *float64           `json:"validation_loss,omitempty"` // where it was measured
	Seconds float64            `json:"seconds"`                   // of training so far, without breaks
}

// Report says how training went.
type Report struct {
	Points  []Point
	Steps   int     // done
	Tokens  int64   // read
	Best    float64 // lowest validation loss; NaN where there was none
	BestAt  int     // its step
	Stopped bool    // before the last step, because the validation loss did not improve
	Resumed int     // steps that an earlier run had done
}

// Speed returns the tokens per second over the whole training.
func (r *Report) Speed() float64 {
	if n := len(r.Points); n > 0 && r.Points[n-1].Seconds > 0 {
		return float64(r.Tokens) / r.Points[n-1].Seconds
	}
	return 0
}

// Checkpoints keeps states of training, so that a killed process goes on. Each is complete or absent.
type Checkpoints interface {
	Save(name string, write func(w io.Writer) error) error
	// Open returns nil where there is none of that name, or a damaged one.
	Open(name string) (io.ReadCloser, error)
	List() ([]string, error)
	Delete(name string) error
}

// Options are what a training run may have besides its settings.
type Options struct {
	// Checkpoints, unless nil, keeps states. It must hold none of another student, text or settings.
	Checkpoints Checkpoints
	// Formats, unless empty, makes training aware of quantization: the forward pass sees these weights of the student rounded to
	// their formats, and that is how the result holds them.
	Formats map[*model.Weight]codec.Codec
	// Name is what a cached teacher calls the model that it was made of.
	Name string
	// Note, unless nil, is told a line now and then.
	Note func(line string)
}

// run is training at work.
type run struct {
	s        Settings
	student  *model.Model
	teacher  Teacher // nil for none
	t        trainer
	order    *order
	held     []*train.Batch
	o        Options
	report   *Report
	want     want
	best     []bestWeight // with patience: the weights of the best look
	waited   int          // looks since then
	seconds  float64      // of training in earlier processes and this one
	measured time.Time    // since when seconds does not count
}

// Run trains a student on a text, and toward a teacher unless that is nil. It returns the student with its new weights, in
// float32, or where scales were tuned or Formats given in the formats that training saw; the given one stays as it is, and is read
// again for weights that were not trained and, with LoRA, those that were. The same arguments give the same weights, bit for bit,
// for any number of threads and however often the process was killed and went on from its checkpoints. While it runs, Go's
// garbage collector is set to keep little garbage.
func Run(ctx context.Context, student *model.Model, teacher Teacher, text Text, s Settings, o Options) (*model.Model, *Report, error) {
	defer spareMemory()()
	r := &run{s: s, student: student, teacher: teacher, o: o, report: &Report{Best: math.NaN()}}
	if err := r.prepare(text); err != nil {
		return nil, nil, err
	}
	if err := r.resume(); err != nil {
		return nil, nil, err
	}
	if err := r.loop(ctx); err != nil {
		return nil, r.report, err
	}
	tensors, err := r.t.Tensors()
	if err != nil {
		return nil, r.report, err
	}
	if r.s.Patience > 0 && r.best != nil {
		restore(tensors, r.best)
	}
	return student.With(tensors), r.report, nil
}

// prepare draws the training graph and cuts the text.
func (r *run) prepare(text Text) error {
	if err := r.s.Check(r.student, r.teacher != nil); err != nil {
		return err
	}
	if r.s.TeacherCache != nil && r.teacher != nil {
		var err error
		if r.teacher, err = Cached(r.teacher, *r.s.TeacherCache, r.s.Seed); err != nil {
			return err
		}
	}
	list := r.s.losses(r.teacher)
	b := &build{temperature: r.s.Temperature, vocab: r.student.Graph.Logits.Out.Size(), want: &r.want,
		layers: len(r.student.Config.Layers), width: r.student.Config.Hidden, student: r.student.Graph, length: r.s.Length(r.student.Config)}
	for _, l := range list {
		r.want.needs |= l.needs()
	}
	if err := r.meet(list, b); err != nil {
		return err
	}
	losses, err := drawn(list, b)
	if err != nil {
		return err
	}
	if r.t, err = r.newTrainer(losses); err != nil {
		return err
	}
	return r.cut(text)
}

// meet holds what the losses want against what the teacher can tell.
func (r *run) meet(list []named, b *build) error {
	t := r.teacher
	if t == nil {
		return nil
	}
	if t.vocab() != b.vocab {
		return fmt.Errorf("the teacher has %d tokens in its vocabulary, the student %d: they cannot be compared", t.vocab(), b.vocab)
	}
	b.teacherLayers, b.teacherWidth = t.shape()
	b.most = t.most()
	if l, ok := t.(*live); ok {
		b.teacher = l.e.Model.Graph
	}
	able := t.can()
	if _, kept := t.(*cached); kept && r.s.OnPolicy != nil {
		return fmt.Errorf("on_policy: a cached teacher has no answers for what the student writes; use a live or remote one")
	}
	if c, ok := t.(*cached); ok && able&needSparse != 0 {
		b.sparse = c.kept()
	}
	for _, l := range list {
		if _, kl := l.Loss.(*KL); kl && able&needSparse != 0 {
			continue
		}
		if l.needs()&^able != 0 {
			hint := ""
			if b.most > 0 {
				hint = fmt.Sprintf("; it names its %d most probable tokens: use topk_kl", b.most)
			}
			return fmt.Errorf("loss %s: this teacher cannot tell what it needs%s", l.name, hint)
		}
	}
	return nil
}

// cut cuts the text into sequences and holds some back. A cached teacher is asked about the same sequences again and again, and one
// that is a file about its own.
func (r *run) cut(text Text) error {
	length := r.s.Length(r.student.Config)
	var held [][]int32
	var err error
	if c, ok := r.teacher.(*cached); ok {
		if c.file != nil {
			text = c.file.Text()
			if length = c.file.Length; length > r.student.Config.MaxContext() || r.s.MaxSeqLength > 0 && r.s.MaxSeqLength != length {
				return fmt.Errorf("%s holds sequences of %d tokens: max_seq_length is %d, the student's context %d", c.file.path, length, r.s.MaxSeqLength, r.student.Config.MaxContext())
			}
		}
		r.order, held, err = newFixedOrder(text, length, r.s.Seed, r.s.Validation)
	} else {
		var rest Text
		rest, held = split(text, r.s.Validation, length)
		r.order, err = newOrder(rest, length, r.s.Seed)
	}
	if err != nil {
		return err
	}
	for held = thin(held); len(held) > 0; {
		n := min(len(held), r.s.BatchSize)
		x := newBatch(n, length)
		for _, ids := range held[:n] {
			fill(x, ids, text.BOS)
		}
		r.held, held = append(r.held, x), held[n:]
	}
	return nil
}

// loop makes the steps.
func (r *run) loop(ctx context.Context) error {
	perStep := int64(r.s.BatchSize) * int64(r.s.GradientAccumulation) * int64(r.order.length)
	task := progress.Start(ctx, "train", "tokens", int64(r.s.Steps)*perStep)
	defer task.Done()
	task.Add(int64(r.t.Steps()) * perStep)
	r.measured = time.Now()
	for r.t.Steps() < r.s.Steps && !r.report.Stopped {
		if err := r.step(ctx); err != nil {
			if ctx.Err() != nil {
				err = errors.Join(err, r.save()) // the next run goes on from here
			}
			return err
		}
		p := &r.report.Points[len(r.report.Points)-1]
		task.Describe(fmt.Sprintf("loss %.4g", p.Loss))
		task.Add(perStep)
		if n := r.t.Steps(); n%r.s.every(r.s.EvalEvery) == 0 || n == r.s.Steps {
			if err := r.look(ctx, p); err != nil {
				return err
			}
		}
		if n := r.t.Steps(); n%r.s.every(r.s.CheckpointEvery) == 0 && n < r.s.Steps {
			if err := r.save(); err != nil {
				return err
			}
		}
	}
	r.report.Steps = r.t.Steps()
	return nil
}

// step makes one step.
func (r *run) step(ctx context.Context) error {
	n, rows := r.t.Steps(), 0
	batches := make([]*train.Batch, r.s.GradientAccumulation)
	for i := range batches {
		batches[i] = r.order.batch((n*len(batches)+i)*r.s.BatchSize, r.s.BatchSize)
		rows += len(batches[i].IDs)
	}
	if err := r.ownWords(ctx, batches, n*len(batches)*r.s.BatchSize); err != nil {
		return err
	}
	for _, b := range batches {
		if err := r.answer(ctx, b); err != nil {
			return err
		}
	}
	m, err := r.t.Step(ctx, batches)
	if errors.Is(err, train.ErrNotFinite) {
		return errors.Join(fmt.Errorf("%w: the weights are good up to step %d; a lower learning_rate, a longer warm-up or max_grad_norm may help", err, n), r.save())
	}
	if err != nil {
		return err
	}
	now := time.Now()
	took := now.Sub(r.measured).Seconds()
	r.seconds, r.measured = r.seconds+took, now
	r.report.Tokens += int64(rows)
	r.report.Points = append(r.report.Points, Point{Step: n + 1, Tokens: r.report.Tokens, Loss: m.Loss, Losses: m.Losses, Norm: m.Norm,
		Rate: m.Rate, Speed: float64(rows) / took, Seconds: r.seconds})
	return nil
}

// answer adds what the teacher says to a batch.
func (r *run) answer(ctx context.Context, b *train.Batch) error {
	if r.teacher == nil || r.want.needs == 0 {
		return nil
	}
	return r.teacher.answer(ctx, b, &r.want)
}

// look measures the validation loss and decides whether to go on.
func (r *run) look(ctx context.Context, p *Point) error {
	if len(r.held) == 0 {
		r.say(p, nil)
		return nil
	}
	m, err := r.measure(ctx)
	if err != nil {
		return err
	}
	if math.IsNaN(m.Loss) || math.IsInf(m.Loss, 0) {
		return fmt.Errorf("validation loss after step %d is %w", p.Step, train.ErrNotFinite)
	}
	p.Held = &m.Loss
	r.say(p, &m.Loss)
	if math.IsNaN(r.report.Best) || m.Loss < r.report.Best {
		r.report.Best, r.report.BestAt, r.waited = m.Loss, p.Step, 0
		if r.s.Patience > 0 {
			r.best, err = r.weights()
		}
		return err
	}
	r.waited++
	r.report.Stopped = r.s.Patience > 0 && r.waited >= r.s.Patience
	return nil
}

// measure returns the losses on the validation text. Where the teacher's answers about all of it are large, it is asked again
// each time, batch by batch.
func (r *run) measure(ctx context.Context) (*train.Metrics, error) {
	var bytes int64
	for _, b := range r.held {
		if b.Inputs == nil {
			if err := r.answer(ctx, b); err != nil {
				return nil, err
			}
		}
		if bytes += inputBytes(b); bytes > heldInMemory {
			return r.measureApart(ctx)
		}
	}
	return r.t.Evaluate(ctx, r.held)
}

// measureApart is measure without keeping answers: the mean of the batches' losses, by the rows that count.
func (r *run) measureApart(ctx context.Context) (*train.Metrics, error) {
	sum := &train.Metrics{Losses: map[string]float64{}}
	for _, b := range r.held {
		b.Inputs = nil
		if err := r.answer(ctx, b); err != nil {
			return nil, err
		}
		m, err := r.t.Evaluate(ctx, []*train.Batch{b})
		if err != nil {
			return nil, err
		}
		b.Inputs = nil
		sum.Rows += m.Rows
		sum.Loss += m.Loss * float64(m.Rows)
		for name, v := range m.Losses {
			sum.Losses[name] += v * float64(m.Rows)
		}
	}
	sum.Loss /= float64(sum.Rows)
	for name := range sum.Losses {
		sum.Losses[name] /= float64(sum.Rows)
	}
	return sum, nil
}

// inputBytes returns the size of what came with a batch.
func inputBytes(b *train.Batch) (n int64) {
	for _, x := range b.Inputs {
		switch v := x.(type) {
		case []float32:
			n += int64(4 * len(v))
		case []int32:
			n += int64(4 * len(v))
		}
	}
	return n
}

// say tells the user how training goes.
func (r *run) say(p *Point, held *float64) {
	line := fmt.Sprintf("step %d of %d: loss %.4f", p.Step, r.s.Steps, mean(r.report.Points, r.s.every(r.s.EvalEvery)))
	if held != nil {
		line += fmt.Sprintf(", validation %.4f", *held)
	}
	line += fmt.Sprintf(", %.0f tokens/s", float64(p.Tokens)/p.Seconds)
	slog.Debug(line)
	if r.o.Note != nil {
		r.o.Note(line)
	}
}

// mean averages the loss of the last points.
func mean(points []Point, n int) float64 {
	points = points[max(0, len(points)-n):]
	sum := 0.0
	for _, p := range points {
		sum += p.Loss
	}
	return sum / float64(len(points))
}
