package quantize

// Low-rank correction of what rounding lost (Zhang et al. 2024, LQER and QERA): beside Q, two thin matrices B [out, rank] and
// A [rank, in] so that Q + B A is as close to W as it can be on the inputs,
//
//	min |(W - Q - B A) X|² = min |(E - B A) L|²,   E = W - Q,   X Xᵀ = L Lᵀ
//
// whose solution is the leading part of the singular value decomposition of E L (QERA, theorem 1). With U its leading left
// vectors B A = U Uᵀ E: neither L nor its inverse is needed, only the leading eigenvectors of E H Eᵀ, which subspace iteration
// finds. Without a Hessian H is the mean squares alone (LQER). A and B are kept in bfloat16, as an adapter beside the model.

import (
	"fmt"
	"math"
	"sort"

	"gonum.org/v1/gonum/mat"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

const (
	spareVectors = 8 // beyond the rank, which make the iteration converge
	subspaceRuns = 6
)

// correct finds the correction of a finished matrix, whose values were v.
func (w *work) correct(wt *model.Weight, p *Problem) error {
	t := w.tensors[wt]
	q, err := t.Float32()
	if err != nil {
		return err
	}
	e := make([]float32, len(q))
	for i, x := range q {
		e[i] = p.W[i] - x
	}
	rank := min(w.o.LowRank, p.Rows, p.Cols)
	b, a := p.lowRank(e, rank)
	bf16, err := codec.Lookup("bf16")
	if err != nil {
		return err
	}
	l := model.LowRank{}
	if l.A, err = tensor.Convert(tensor.FromFloat32(wt.Name, []int{rank, p.Cols}, a), bf16); err != nil {
		return err
	}
	if l.B, err = tensor.Convert(tensor.FromFloat32(wt.Name, []int{p.Rows, rank}, b), bf16); err != nil {
		return err
	}
	if a, err = l.A.Float32(); err != nil {
		return err
	}
	if b, err = l.B.Float32(); err != nil {
		return err
	}
	ba := make([]float32, len(e))
	simd.Gemm(ba, p.Cols, b, rank, false, a, p.Cols, false, p.Rows, p.Cols, rank, false)
	for i, x := range ba {
		e[i] -= x
	}
	r := w.reports[wt]
	if sum := p.energy(p.W, p.Rows); sum > 0 {
		r.Corrected = p.energy(e, p.Rows) / sum
	}
	w.reports[wt] = r
	if w.adapter == nil {
		w.adapter = model.Adapter{}
	}
	w.adapter[wt.Name] = l
	return nil
}

// lowRank returns B [rows, rank] and A [rank, cols].
func (p *Problem) lowRank(e []float32, rank int) (b, a []float32) {
	k := min(rank+spareVectors, p.Rows)
	y, m := make([]float32, p.Rows*k), make([]float32, p.Rows*k)
	s := rng.New(1, rng.Hash("lowrank"), rng.Hash(p.Name))
	for i := range y {
		y[i] = float32(s.Normal())
	}
	orthonormal(y, p.Rows, k)
	for range subspaceRuns {
		p.spread(m, e, y, k)
		y, m = m, y
		orthonormal(y, p.Rows, k)
	}
	// The eigenvectors within the subspace, the largest first.
	p.spread(m, e, y, k)
	t := make([]float32, k*k)
	simd.Gemm(t, k, y, k, true, m, k, false, k, k, p.Rows, false)
	sym := mat.NewSymDense(k, nil)
	for i := range k {
		for j := i; j < k; j++ {
			sym.SetSym(i, j, (float64(t[i*k+j])+float64(t[j*k+i]))/2)
		}
	}
	var eig mat.EigenSym
	turn := make([]float32, k*rank)
	if eig.Factorize(sym, true) {
		var vectors mat.Dense
		eig.VectorsTo(&vectors)
		order, values := make([]int, k), eig.Values(nil)
		for i := range order {
			order[i] = i
		}
		sort.SliceStable(order, func(i, j int) bool { return values[order[i]] > values[order[j]] })
		for i := range k {
			for j := range rank {
				turn[i*rank+j] = float32(vectors.At(i, order[j]))
			}
		}
	} else {
		for j := range rank {
			turn[j*rank+j] = 1
		}
	}
	b, a = make([]float32, p.Rows*rank), make([]float32, rank*p.Cols)
	simd.Gemm(b, rank, y, k, false, turn, rank, false, p.Rows, rank, k, false)
	simd.Gemm(a, p.Cols, b, rank, true, e, p.Cols, false, rank, p.Cols, p.Rows, false)
	return b, a
}

// spread sets dst to E H Eᵀ y, for k vectors.
func (p *Problem) spread(dst, e, y []float32, k int) {
	n := p.Cols
	z := make([]float32, n*k)
	simd.Gemm(z, k, e, n, true, y, k, false, n, k, p.Rows, false)
	if p.Inputs.Hessian != nil {
		h := make([]float32, n*k)
		simd.Gemm(h, k, p.hessian32(), n, false, z, k, false, n, k, n, false)
		z = h
	} else {
		for j := range n {
			for i := range k {
				z[j*k+i] *= float32(p.Inputs.SumSq[j])
			}
		}
	}
	simd.Gemm(dst, k, e, n, false, z, k, false, p.Rows, k, n, false)
}

// orthonormal makes k columns of rows values orthonormal, by Gram and Schmidt, twice for the sake of rounding. A column that the
// others make becomes zero.
func orthonormal(y []float32, rows, k int) {
	column := make([]float64, rows)
	for c := range k {
		var before float64
		for r := range rows {
			column[r] = float64(y[r*k+c])
			before += column[r] * column[r]
		}
		for range 2 {
			for o := range c {
				var dot float64
				for r := range rows {
					dot += column[r] * float64(y[r*k+o])
				}
				for r := range rows {
					column[r] -= dot * float64(y[r*k+o])
				}
			}
		}
		var sum float64
		for _, v := range column {
			sum += v * v
		}
		norm := 0.0
		if sum > 1e-12*before {
			norm = 1 / math.Sqrt(sum)
		}
		for r, v := range column {
			y[r*k+c] = float32(v * norm)
		}
	}
}

// checkLowRank refuses a rank without inputs to weigh errors with.
func (s *Settings) checkLowRank(a Algorithm) error {
	if s.LowRank > 0 && a.Needs() == nil {
		return fmt.Errorf("low_rank %d: the correction is weighed by the inputs of each matrix, which %s does not look at: choose gptq or awq, or importance: true", s.LowRank, s.Algorithm)
	}
	return nil
}
