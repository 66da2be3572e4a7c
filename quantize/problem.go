package quantize

import (
	"context"
	"fmt"
	"sort"
	"sync"

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

	once sync.Once
	h32  []float32 // Inputs.Hessian in float32
}

// Result is the answer.
type Result struct {
	Data []byte // Rows encoded rows
	// Error is the relative squared error of the output on the calibration inputs, |(W-Q)X|²/|WX|²; of the weights
	// themselves where there are no inputs.
	Error float64
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
	rb := len(data) / p.Rows
	errs, sums := make([]float64, p.Rows), make([]float64, p.Rows)
	forRows(p.Rows, p.Cols, func(lo, hi int) {
		q := make([]float32, (hi-lo)*p.Cols)
		for r := lo; r < hi; r++ {
			p.Codec.Decode(q[(r-lo)*p.Cols:(r-lo+1)*p.Cols], data[r*rb:(r+1)*rb])
		}
		p.energies(lo, hi, q, errs, sums)
	})
	var e, s float64
	for r := range errs {
		e += errs[r]
		s += sums[r]
	}
	if s == 0 {
		s = 1
	}
	return &Result{Data: data, Error: e / s, Note: note}
}
