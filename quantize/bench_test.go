package quantize

import (
	"context"
	"fmt"
	"testing"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model/codec"
)

// randomProblem returns a matrix of random values and inputs that go together a little.
func randomProblem(tb testing.TB, rows, cols int, format string) *Problem {
	tb.Helper()
	c, err := codec.Lookup(format)
	if err != nil {
		tb.Fatal(err)
	}
	const tokens, rank = 512, 64
	s := rng.New(4)
	normal := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(s.Normal())
		}
		return v
	}
	x := normal(tokens * cols)
	simd.Gemm(x, cols, normal(tokens*rank), rank, false, normal(rank*cols), cols, false, tokens, cols, rank, true)
	h := make([]float32, cols*cols)
	simd.Gemm(h, cols, x, cols, true, x, cols, false, cols, cols, tokens, false)
	p := &Problem{Name: "w", W: normal(rows * cols), Rows: rows, Cols: cols, Codec: c,
		Inputs: &calib.Point{Width: cols, Rows: tokens, SumSq: make([]float64, cols), Hessian: make([]float64, cols*cols)}}
	for i, v := range h {
		p.Inputs.Hessian[i] = float64(v)
	}
	for j := range cols {
		p.Inputs.SumSq[j] = p.Inputs.Hessian[j*(cols+1)]
	}
	return p
}

// BenchmarkGPTQ solves a matrix from the second moment of its inputs on: as pare does by default, and "plain" as the reference
// implementation with its own settings.
func BenchmarkGPTQ(b *testing.B) {
	for _, format := range []string{"q4_k", "q6_k", "int4g128"} {
		for _, size := range [][2]int{{512, 2048}, {2048, 2048}, {2048, 5632}} {
			for _, plain := range []bool{false, true} {
				name := fmt.Sprintf("%s/%dx%d", format, size[0], size[1])
				a := &GPTQ{ActOrder: "static", DampeningFrac: 0.01, Clip: true, Sweeps: 4}
				if plain {
					name, a = name+"/plain", &GPTQ{ActOrder: "static", DampeningFrac: 0.01, BlockSize: 128}
				}
				b.Run(name, func(b *testing.B) {
					p := randomProblem(b, size[0], size[1], format)
					for b.Loop() {
						p.Inputs = &calib.Point{Width: p.Inputs.Width, Rows: p.Inputs.Rows, SumSq: p.Inputs.SumSq, Hessian: p.Inputs.Hessian}
						if _, err := a.Solve(context.Background(), p); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// BenchmarkFeedback factorises a Hessian.
func BenchmarkFeedback(b *testing.B) {
	for _, n := range []int{2048, 5632} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := randomProblem(b, 1, n, "q4_k").Inputs
			for b.Loop() {
				p.Kept = nil
				feedbackOf(p, true, 0.01, 256)
			}
		})
	}
}
