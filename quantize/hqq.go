package quantize

// HQQ (Badri and Shaji 2023), half-quadratic quantization: no calibration text. A few outliers should not set the grid of a
// whole group, so the error is measured by a norm below one and split into what the grid explains and a sparse rest E:
//
//	min over grid, E of |E|_p^p + β/2 |W - Q - E|²
//
// E is solved by shrinking the error, x -> sign(x) max(|x| - |x|^(p-1)/β, 0); the grid is refitted to W - E (eq. 4 to 7). The
// paper moves the zero point of asymmetric groups; here the format's own encoder fits whatever parameters it has, so that
// every format whose codes stand for single values can be used. The best of all rounds by |W - Q|_p^p is kept that does not raise the
// squared error, which the encoder's own fit has searched well: sparse errors are bought with nothing.

import (
	"context"
	"math"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/model/codec"
)

func init() {
	algorithms["hqq"] = func() Algorithm { return &HQQ{LpNorm: 0.7, Beta: 10, Kappa: 1.01, Iterations: 20} }
}

// HQQ is half-quadratic quantization.
type HQQ struct {
	// LpNorm is the norm p of the sparse rest.
	LpNorm float64 `yaml:"lp_norm" min:"0.1" max:"1"`
	// Beta is the weight of the quadratic term for values of unit size; it grows by Kappa each round.
	Beta float64 `yaml:"beta" min:"0.001"`
	// Kappa is the growth of Beta.
	Kappa float64 `yaml:"kappa" min:"1"`
	// Iterations is the number of rounds.
	Iterations int `yaml:"iterations" min:"1" max:"1000"`
}

// Needs asks for nothing.
func (a *HQQ) Needs() *calib.Needs { return nil }

// Solve works row by row, block by block.
func (a *HQQ) Solve(ctx context.Context, p *Problem) (*Result, error) {
	rb, err := codec.RowBytes(p.Codec, p.Cols)
	if err != nil {
		return nil, err
	}
	g, err := gridOf(p.Codec)
	if err != nil {
		r, err := (&RTN{}).Solve(ctx, p)
		if r != nil {
			r.Note = p.Codec.Name() + " has no codes of single values: rounded to nearest"
		}
		return r, err
	}
	n := g.values
	if n == 0 {
		n = p.Cols
	}
	size := rb / (p.Cols / n)
	data := make([]byte, p.Rows*rb)
	forRows(p.Rows, p.Cols, func(lo, hi int) {
		for r := lo; r < hi && ctx.Err() == nil; r++ {
			for k := range p.Cols / n {
				at := data[r*rb+k*size : r*rb+(k+1)*size]
				a.block(g, at, p.W[r*p.Cols+k*n:r*p.Cols+(k+1)*n])
			}
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return p.finish(data, ""), nil
}

// block solves one block.
func (a *HQQ) block(g *grid, dst []byte, x []float32) {
	var scale float64 // errors are measured in parts of the block's root mean square
	for _, v := range x {
		scale += float64(v) * float64(v)
	}
	scale = math.Sqrt(scale / float64(len(x)))
	target, e := append([]float32(nil), x...), make([]float32, len(x))
	best, leastSquares, beta := math.Inf(1), math.Inf(1), a.Beta
	for range a.Iterations {
		c := g.fit(target, nil)
		var loss, squares float64
		for i, v := range x {
			e[i] = v - c.round(i, v)
			squares += float64(e[i]) * float64(e[i])
			if scale > 0 {
				loss += math.Pow(math.Abs(float64(e[i]))/scale, a.LpNorm)
			}
		}
		if loss >= best {
			break
		}
		if squares <= leastSquares {
			best, leastSquares = loss, squares
			c.put(dst)
		}
		if scale == 0 {
			break
		}
		for i, v := range x {
			target[i] = v - float32(scale*shrink(float64(e[i])/scale, beta, a.LpNorm))
		}
		beta *= a.Kappa
	}
}

// shrink is the generalised soft threshold.
func shrink(x, beta, p float64) float64 {
	m := math.Abs(x)
	if m == 0 {
		return 0
	}
	return math.Copysign(max(m-math.Pow(m, p-1)/beta, 0), x)
}
