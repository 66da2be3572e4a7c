package cpu

import (
	"math"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
)

// Pick splits the logits of each row in those that its indices name and the rest: inputs logits [rows, Classes] and
// indices i32 [rows, Kept], outputs the named logits [rows, Kept] and the log of the sum of exponentials of all others
// [rows]. Cross-entropy and distillation against the largest logits of a teacher are short formulas in these numbers,
// and nothing of the size of the logits is kept. An index outside [0, Classes) names nothing: its output is 0 and it
// takes nothing from the rest. An index named twice counts once in what is taken from the rest.
type Pick struct{ Rows, Classes, Kept int }

// String names the kernel in profiles.
func (p *Pick) String() string { return "pick" }

// Run computes both outputs.
func (p *Pick) Run(out, in []*Buffer) {
	x, index := in[0].Data.([]float32), in[1].Data.([]int32)
	kept, rest := out[0].Data.([]float32), out[1].Data.([]float32)
	par.For(p.Rows, max(1, 1<<15/max(p.Classes, 1)), func(lo, hi int) {
		row := make([]float32, p.Classes)
		for r := lo; r < hi; r++ {
			copy(row, x[r*p.Classes:(r+1)*p.Classes])
			at := index[r*p.Kept : (r+1)*p.Kept]
			for k, i := range at {
				kept[r*p.Kept+k] = 0
				if i >= 0 && int(i) < p.Classes {
					kept[r*p.Kept+k] = x[r*p.Classes+int(i)]
					row[i] = float32(math.Inf(-1))
				}
			}
			rest[r] = simd.LogSumExp(row)
		}
	})
}

// PickGrad is the gradient of Pick: inputs logits, indices and rest as there, and the gradients of both outputs; output
// the gradient of the logits.
type PickGrad struct{ Pick }

// String names the kernel in profiles.
func (p *PickGrad) String() string { return "pick'" }

// InPlace says that the gradient may take the memory of the logits.
func (p *PickGrad) InPlace() [][2]int { return [][2]int{{0, 0}} }

// Run computes the gradient: drest * softmax of the rest, and dkept at the indices.
func (p *PickGrad) Run(out, in []*Buffer) {
	x, index := in[0].Data.([]float32), in[1].Data.([]int32)
	rest, dkept, drest := in[2].Data.([]float32), in[3].Data.([]float32), in[4].Data.([]float32)
	y := out[0].Data.([]float32)
	par.For(p.Rows, max(1, 1<<15/max(p.Classes, 1)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			row := y[r*p.Classes : (r+1)*p.Classes]
			if drest[r] == 0 || math.IsInf(float64(rest[r]), -1) {
				clear(row)
			} else {
				addVS(row, x[r*p.Classes:(r+1)*p.Classes], -rest[r])
				simd.Exp(row, row)
				simd.Scale(row, row, drest[r])
			}
			at := index[r*p.Kept : (r+1)*p.Kept]
			for _, i := range at {
				if i >= 0 && int(i) < p.Classes {
					row[i] = 0
				}
			}
			for k, i := range at {
				if i >= 0 && int(i) < p.Classes {
					row[i] += dkept[r*p.Kept+k]
				}
			}
		}
	})
}
