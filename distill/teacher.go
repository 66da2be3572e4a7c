package distill

import (
	"context"
	"fmt"

	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

// Teacher says how probable it finds what may follow each token.
type Teacher interface {
	// vocab returns the number of tokens it knows.
	vocab() int
	// shape returns the number of its layers and the width of its hidden states, 0 where it does not show them.
	shape() (layers, width int)
	// can returns what it can be asked for.
	can() need
	// most returns how many of its most probable tokens it can name, at temperature 1; 0 means all at any temperature.
	most() int
	// answer adds what is wanted to a batch, as inputs of the losses.
	answer(ctx context.Context, b *train.Batch, w *want) error
}

// want is what the losses of a training run ask of the teacher.
type want struct {
	needs  need
	top    []topWant
	hidden []int // states
	maps   []mapWant
}

// topWant asks for the k most probable tokens at a temperature.
type topWant struct {
	k           int
	temperature float64
}

// live is a teacher that runs beside the student.
type live struct {
	e        *runtime.Engine
	sessions []*runtime.Session
	maps     *train.Maps // nil until attention is asked for
}

// Live returns a teacher that runs on the fast runtime, in the format its weights are stored in.
func Live(ctx context.Context, m *model.Model) (Teacher, error) {
	e, err := runtime.Load(ctx, m, runtime.Options{})
	if err != nil {
		return nil, err
	}
	return &live{e: e}, nil
}

func (l *live) vocab() int { return l.e.Vocab() }

func (l *live) shape() (layers, width int) {
	return len(l.e.Model.Config.Layers), l.e.Model.Config.Hidden
}

func (l *live) most() int { return 0 }

func (l *live) can() need { return needLogits | needTop | needInside }

// answersInMemory bounds the logits of sequences that are run together, in values.
const answersInMemory = 1 << 25

func (l *live) answer(ctx context.Context, b *train.Batch, w *want) error {
	if b.Inputs == nil {
		b.Inputs = map[string]any{}
	}
	if w.needs&needInside != 0 {
		if err := l.states(ctx, b, w); err != nil {
			return err
		}
	}
	if w.needs&(needLogits|needTop) == 0 {
		return nil
	}
	rows, vocab := b.Rows*b.Length, l.vocab()
	var logits []float32
	if w.needs&needLogits != 0 {
		logits = make([]float32, rows*vocab)
		b.Inputs[teacherLogits] = logits
	}
	tops := newTops(b, w, rows)
	together := max(1, answersInMemory/(b.Length*vocab))
	for lo := 0; lo < b.Rows; lo += together {
		works := l.works(b, lo, min(lo+together, b.Rows))
		if err := l.e.StepBatch(ctx, works); err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
		for i, work := range works {
			for r, row := range work.Logits {
				at := (lo+i)*b.Length + r
				if logits != nil {
					copy(logits[at*vocab:(at+1)*vocab], row)
				}
				tops.row(at, row)
			}
		}
	}
	return nil
}

// works prepares sequences of a batch to be run from their start.
func (l *live) works(b *train.Batch, lo, hi int) []*runtime.Work {
	for len(l.sessions) < hi-lo {
		l.sessions = append(l.sessions, l.e.NewSession())
	}
	works := make([]*runtime.Work, hi-lo)
	for i := range works {
		l.sessions[i].Reset()
		works[i] = &runtime.Work{Session: l.sessions[i], IDs: b.IDs[(lo+i)*b.Length : (lo+i+1)*b.Length], All: true}
	}
	return works
}

// states adds hidden states, and attention probabilities, which follow from those that enter their layers.
func (l *live) states(ctx context.Context, b *train.Batch, w *want) error {
	layers, width := l.shape()
	rows := b.Rows * b.Length
	out := make([][]float32, layers+1)
	last := 0
	keep := func(i int) {
		if last = max(last, i); out[i] == nil {
			out[i] = make([]float32, rows*width)
		}
	}
	for _, i := range w.hidden {
		keep(i)
		b.Inputs[hiddenName(i)] = out[i]
	}
	for _, m := range w.maps {
		keep(m.layer)
	}
	for r := range b.Rows {
		lo, hi := r*b.Length, (r+1)*b.Length
		x, err := l.e.Embed(ctx, b.IDs[lo:hi])
		for i := 0; err == nil; i++ {
			if out[i] != nil {
				copy(out[i][lo*width:hi*width], x)
			}
			if i == last {
				break
			}
			err = l.e.Layer(ctx, i, x)
		}
		if err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
	}
	if l.maps == nil {
		l.maps = train.NewMaps(l.e.Model)
	}
	for _, m := range w.maps {
		p, err := l.maps.Of(m.layer, b.Rows, b.Length, out[m.layer], m.mean)
		if err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
		b.Inputs[m.name()] = p
	}
	return nil
}
