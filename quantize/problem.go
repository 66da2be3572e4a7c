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
	encoded := make([]byte, 0, len(rows)*rb)
	for _, i := range rows {
		encoded = append(encoded, data[i*rb:(i+1)*rb]...)
	}
	r.Error, r.Held = p.some(rows).errors(encoded)
	return r
}

// some returns the problem of some rows.
func (p *Problem) some(rows []int) *Problem {
	q := &Problem{Name: p.Name, W: p.W, Rows: len(rows), Cols: p.Cols, Codec: p.Codec, Inputs: p.Inputs}
	if len(rows) < p.Rows {
		q.W = p.gather(rows)
	}
	return q
}

// errors returns the relative errors of all rows, on the inputs of calibration and on those held out of it.
func (p *Problem) errors(data []byte) (calibrated, held float64) {
	rb := len(data) / p.Rows
	d := make([]float32, len(p.W))
	forRows(p.Rows, p.Cols, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			q := d[i*p.Cols : (i+1)*p.Cols]
			p.Codec.Decode(q, data[i*rb:(i+1)*rb])
			for j, v := range p.W[i*p.Cols : (i+1)*p.Cols] {
				q[j] = v - q[j]
			}
		}
	})
	if sum := p.energy(p.W, p.Rows); sum > 0 {
		calibrated = p.energy(d, p.Rows) / sum
	}
	if p.Inputs != nil && len(p.Inputs.Held) > 0 {
		if sum := p.heldEnergy(p.W, p.Rows); sum > 0 {
			held = p.heldEnergy(d, p.Rows) / sum
		}
	}
	return calibrated, held
}

// better returns a result, or that of rounding to nearest where its error is smaller, which is tried on the rows that errors
// are measured on.
func (p *Problem) better(ctx context.Context, r *Result, rtn *RTN, note string) (*Result, error) {
	if p.experts() == 1 {
		few := p.some(sampled(p.Rows))
		data, err := rtn.encoded(ctx, few)
		if err != nil {
			return nil, err
		}
		if e, _ := few.errors(data); e >= r.Error {
			return r, nil
		}
	}
	plain, err := rtn.Solve(ctx, p)
	if err != nil || plain.Error >= r.Error {
		return r, err
	}
	if r.Note != "" {
		note = r.Note + "; " + note
	}
	plain.Note = note
	return plain, nil
}
