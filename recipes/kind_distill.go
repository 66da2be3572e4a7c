package recipes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/parelm/pare/distill"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model"
)

func init() {
	Register(Kind{Name: "distill", Sources: []fs.FS{source, distill.Source}, New: func() Stage {
		return &distillStage{Settings: distill.Default()}
	}})
}

// distillStage trains a model: toward a teacher, or on text alone. It is how a pruned student recovers what it lost. Without
// a teacher, with the cross-entropy as its one loss, it is pre-training, or continued pre-training on text of your own.
type distillStage struct {
	// Teacher is what the student follows: an earlier stage, base, or a path; a model, or what a cache stage made. Without one, and
	// without remote, the student learns from the text alone.
	Teacher string `yaml:"teacher" ref:"any"`
	// Remote is a server that is asked instead.
	Remote *distill.Remote `yaml:"remote"`
	distill.Settings
	// QAT, when given, trains with rounding: the forward pass sees the weights in this format, and so they are stored.
	QAT *rounding `yaml:"qat"`
	// Train is the text that the student learns from; without it the recipe's data.train.
	Train []string `yaml:"train" data:"train"`
}

// UsesSeed: it orders the text.
func (s *distillStage) UsesSeed() bool { return true }

// Variants lists the losses.
func (s *distillStage) Variants() []Variant {
	var out []Variant
	for _, name := range distill.LossNames() {
		if l, err := distill.NewLoss(name); err == nil {
			out = append(out, Variant{Key: "losses", Value: name, Settings: l, Nested: true})
		}
	}
	return out
}

func (s *distillStage) Plan(ctx context.Context, p *Planning) (Estimate, error) {
	m, err := p.In.open()
	if err != nil {
		return Estimate{}, err
	}
	defer m.Close()
	t, err := s.planned(p)
	if err != nil {
		return Estimate{}, err
	}
	if len(s.Train) == 0 {
		return Estimate{}, strict.Bad("train", "no text to learn from: give data.train in the recipe, or train here")
	}
	if err := s.Check(m, s.Teacher != "" || s.Remote != nil); err != nil {
		return Estimate{}, strict.Bad("losses", "%v", err)
	}
	out, err := s.outline(m)
	if err != nil {
		return Estimate{}, err
	}
	gguf, mix := s.stored(m)
	n, err := size(ctx, out, p.Name, gguf, mix)
	if err != nil {
		return Estimate{}, err
	}
	tokens := s.Tokens(m.Config)
	text, err := textTokens(s.Train)
	if err != nil {
		return Estimate{}, err
	}
	memory, err := s.Memory(m, t, s.Teacher != "" || s.Remote != nil, text)
	if err != nil {
		return Estimate{}, strict.Bad("losses", "%v", err)
	}
	e := Estimate{OutputBytes: n, Model: out, PeakMemory: overhead + memory.Process,
		Seconds: seconds(3 * forward(m) * float64(tokens)),
		Details: []string{fmt.Sprintf("%d steps, %s tokens", s.Steps, report.Count(tokens))}}
	if s.Devices > 1 {
		e.Details = append(e.Details, fmt.Sprintf("%d devices, each %d sequences and %s of memory", s.Devices, s.BatchSize/s.Devices, report.Bytes(memory.Device)))
	}
	if t == nil {
		return e, err
	}
	defer t.Close()
	e.PeakMemory += t.Bytes()
	e.Seconds += seconds(forward(t) * float64(tokens))
	return e, err
}

// trainedType returns the format that a trained model is stored in: the one it came in where that is a plain float.
func trainedType(m *model.Model) string {
	switch name, _ := m.Format(); name {
	case "f16", "bf16":
		return name
	}
	return "f32"
}

func (s *distillStage) Run(ctx context.Context, j *Job) error {
	m, err := j.In.open()
	if err != nil {
		return err
	}
	defer m.Close()
	t, err := s.open(ctx, j, m)
	if err != nil {
		return err
	}
	defer t.close()
	var text distill.Text
	if !t.cached {
		if text, err = distill.ReadText(ctx, m, s.Train); err != nil {
			return err
		}
	}
	s.Seed = j.Seed
	states, err := j.Checkpoints()
	if err != nil {
		return err
	}
	formats, err := s.formats(m)
	if err != nil {
		return err
	}
	trained, r, err := distill.Run(ctx, m, t.teacher, text, s.Settings, distill.Options{Checkpoints: checkpoints{states}, Formats: formats, Note: j.Note})
	if err != nil {
		return err
	}
	out, err := s.written(trained, m)
	if err != nil {
		return err
	}
	gguf, mix := s.stored(m)
	if err := j.save(ctx, out, gguf, mix); err != nil {
		return err
	}
	if err := s.metrics(j, r); err != nil {
		return err
	}
	return j.facts(s.facts(j.Name, out, r))
}

// metrics writes what every step measured as JSON lines.
func (s *distillStage) metrics(j *Job, r *distill.Report) error {
	var data []byte
	for i := range r.Points {
		line, err := json.Marshal(&r.Points[i])
		if err != nil {
			return err
		}
		data = append(append(data, line...), '\n')
	}
	return writeAll(j.CreateVolatile, "metrics.jsonl", data)
}

// facts is what the report says of the training.
func (s *distillStage) facts(name string, m *model.Model, r *distill.Report) report.Facts {
	loss, held := report.Curve{Stage: name, Name: "loss"}, report.Curve{Stage: name, Name: "validation loss"}
	for i := range r.Points {
		p := &r.Points[i]
		loss.Steps, loss.Values = append(loss.Steps, float64(p.Step)), append(loss.Values, p.Loss)
		if p.Held != nil {
			held.Steps, held.Values = append(held.Steps, float64(p.Step)), append(held.Values, *p.Held)
		}
	}
	f := report.Facts{Models: []report.Model{describe(name, formatOf(m), m)}, Curves: []report.Curve{loss}}
	if len(held.Steps) > 0 {
		f.Curves = append(f.Curves, held)
	}
	t := report.Table{Title: name + ": training", Columns: []string{"steps", "tokens", "tokens/s", "loss at the end", "best validation loss"}}
	row := []string{fmt.Sprint(r.Steps), report.Count(r.Tokens), fmt.Sprintf("%.0f", r.Speed()), "", ""}
	if n := len(r.Points); n > 0 {
		row[3] = fmt.Sprintf("%.4f", r.Points[n-1].Loss)
	}
	if r.BestAt > 0 {
		row[4] = fmt.Sprintf("%.4f at step %d", r.Best, r.BestAt)
	}
	if r.Stopped {
		row[0] += fmt.Sprintf(" of %d: the validation loss did not improve any more", s.Steps)
	}
	t.Rows = append(t.Rows, row)
	f.Tables = append(f.Tables, t)
	return f
}

// checkpoints are those of a job as training uses them.
type checkpoints struct{ c *Checkpoints }

func (c checkpoints) Save(name string, write func(w io.Writer) error) error {
	return c.c.Save(name, write)
}

func (c checkpoints) Open(name string) (io.ReadCloser, error) {
	f, err := c.c.Open(name)
	if f == nil || err != nil {
		return nil, err
	}
	return f, nil
}

func (c checkpoints) List() ([]string, error) {
	names, err := c.c.List()
	return slices.Clone(names), err
}

func (c checkpoints) Delete(name string) error { return c.c.Delete(name) }
