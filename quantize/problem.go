package quantize

import (
	"context"
	"fmt"
	"sort"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/model/codec"
)

// Problem is one matrix to be stored in a format.
type Problem struct {
	Name  string
	W     []float32 // [Rows, Cols], row by row
	Rows  int
	Cols  int
	Codec codec.Codec
	// Inputs is what calibration saw at the matrix's input; nil where there is none, as for embeddings.
	Inputs *calib.Point
	// Stacked says that the rows are those of several experts, one after the other.
	Stacked bool
}

// Result is the answer.
type Result struct {
	Data []byte // Rows encoded rows
	// Error is the relative squared error of the output on the calibration inputs, |(W-Q)X|²/|WX|²; of the weights
	// themselves where there are no inputs.
	Error float64
	// Held is the same on inputs that were held out of calibration; 0 where there are none.
	Held float64
	// Note says what the algorithm had to do otherwise than asked; empty as a rule.
	Note string
}

// Algorithm solves problems. Implementations are structs whose fields are their settings.
type Algorithm interface {
	// Needs says which statistics Solve wants; nil means that it works without calibration text.
	Needs() *calib.Needs
	// Solve is deterministic for any number of threads.
	Solve(ctx context.Context, p *Problem) (*Result, error)
}

// algorithms makes an algorithm with its default settings by name.
var algorithms = map[string]func() Algorithm{}

// Algorithms returns the names of the algorithms, sorted.
func Algorithms() []string {
	var names []string
	for n := range algorithms {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// New returns the algorithm of that name with its default settings.
func New(name string) (Algorithm, error) {
	if f := algorithms[name]; f != nil {
		return f(), nil
	}
	return nil, fmt.Errorf("unknown quantization algorithm %q (known: %v)", name, Algorithms())
}

// finish measures the error of encoded rows.
func (p *Problem) finish(data []byte, note string) *Result {
	r := &Result{Data: data, Note: note}
	rb := len(data) / p.Rows
	rows := sampled(p.Rows)
	w := p.gather(rows)
	d := make([]float32, len(w))
	forRows(len(rows), p.Cols, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			q := d[i*p.Cols : (i+1)*p.Cols]
			p.Codec.Decode(q, data[rows[i]*rb:(rows[i]+1)*rb])
			for j, v := range w[i*p.Cols : (i+1)*p.Cols] {
				q[j] = v - q[j]
			}
		}
	})
	if sum := p.energy(w, len(rows)); sum > 0 {
		r.Error = p.energy(d, len(rows)) / sum
	}
	if p.Inputs != nil && len(p.Inputs.Held) > 0 {
		if sum := p.heldEnergy(w, len(rows)); sum > 0 {
			r.Held = p.heldEnergy(d, len(rows)) / sum
		}
	}
	return r
}

// better returns the result of two with the smaller error, the first of equals.
func better(a, b *Result, note string) *Result {
	if b.Error < a.Error {
		if a.Note != "" {
			note = a.Note + "; " + note
		}
		b.Note = note
		return b
	}
	return a
}
