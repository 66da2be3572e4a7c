package cpu

import (
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
)

// Rotate rotates pairs of the first 2*len(Cos[i]) values of every head by the angles of its position: rotary position
// embedding (Su et al. 2021). Input and output: [batch, length, heads*Dim]. With Sin negated it is its own gradient.
type Rotate struct {
	Batch, Length, Heads, Dim int
	Interleaved               bool        // pairs (2i, 2i+1) instead of (i, i+n)
	Cos, Sin                  [][]float32 // by position
}

// String names the kernel in profiles.
func (r *Rotate) String() string { return "rotate" }

// InPlace says that the output may take the input's memory.
func (r *Rotate) InPlace() [][2]int { return [][2]int{{0, 0}} }

// Run rotates.
func (r *Rotate) Run(out, in []*Buffer) {
	y, x := out[0].Data.([]float32), in[0].Data.([]float32)
	width := r.Heads * r.Dim
	if width == 0 {
		return
	}
	n := 2 * len(r.Cos[0])
	par.For(r.Batch*r.Length, max(1, 1<<13/width), func(lo, hi int) {
		copyUnlessSame(y[lo*width:hi*width], x[lo*width:hi*width])
		for i := lo; i < hi; i++ {
			cos, sin := r.Cos[i%r.Length], r.Sin[i%r.Length]
			for h := i * width; h < (i+1)*width; h += r.Dim {
				if r.Interleaved {
					simd.RoPEPairs(y[h:h+n], cos, sin)
				} else {
					simd.RoPEHalf(y[h:h+n], cos, sin)
				}
			}
		}
	})
}
