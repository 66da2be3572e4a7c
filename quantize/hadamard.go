package quantize

// Hadamard matrices have entries ±1 and orthogonal rows: turned by one, a few large values spread over all. They exist for
// every size anybody has needed that is a multiple of 4, and are built here from two pieces: doubling (Sylvester 1867), and
// quadratic residues of a prime q, which give sizes q+1 and 2(q+1) (Paley 1933): 12, 20, 28, 36, 60 and many more, so that
// widths like 3072 = 12·256 or 896 = 28·32 have one. Other widths are turned in blocks of their largest power of two.

import (
	"fmt"
	"math"

	"github.com/parelm/pare/internal/rng"
)

// turn is an orthogonal transformation of vectors of n values, block by block:
//
//	x -> H D x / sqrt(n)        H of Hadamard, D random signs
//	x -> H D Hᵀ x / n           where the mean must stay: H has a first column of ones, whose sign is kept
type turn struct {
	n, core int       // values of a block; H is the core's matrix times doublings
	h       []float32 // core x core, first column ones
	signs   []float32
	mean    bool
}

// maxCore bounds the part of a size that is no power of two.
const maxCore = 1024

// newTurn returns the transformation of vectors of n values, or an error where n is odd.
func newTurn(n int, mean bool, seed uint64) (*turn, error) {
	t := &turn{mean: mean}
	two := n & -n
	for k := two; k > 0 && t.h == nil; k /= 2 {
		if t.core = n / k; t.core <= maxCore {
			t.h = paley(t.core)
		}
	}
	if t.n = n; t.h == nil {
		t.n, t.core, t.h = two, 1, []float32{1}
	}
	if t.n < 2 {
		return nil, fmt.Errorf("%d values have no Hadamard matrix: the size is odd", n)
	}
	s := rng.New(seed, rng.Hash("hadamard"), uint64(n))
	t.signs = make([]float32, n)
	for i := range t.signs {
		t.signs[i] = 1
		if s.Uint64()&1 == 1 && !(mean && i%t.n == 0) {
			t.signs[i] = -1
		}
	}
	return t, nil
}

// apply turns every stretch of len(t.signs) values of x in place.
func (t *turn) apply(x []float32) {
	scale := float32(1 / math.Sqrt(float64(t.n)))
	if t.mean {
		scale *= scale
	}
	tmp := make([]float32, t.core)
	for lo := 0; lo < len(x); lo += t.n {
		b, signs := x[lo:lo+t.n], t.signs[lo%len(t.signs):]
		if t.mean {
			t.hadamard(b, tmp, true)
		}
		for i := range b {
			b[i] *= signs[i] * scale
		}
		t.hadamard(b, tmp, false)
	}
}

// hadamard multiplies by H, or by its transpose.
func (t *turn) hadamard(x, tmp []float32, transposed bool) {
	size := len(x) / t.core
	for a := 0; a < len(x); a += size {
		butterflies(x[a : a+size])
	}
	if t.core == 1 {
		return
	}
	for b := range size {
		for a := range tmp {
			tmp[a] = x[a*size+b]
		}
		for r := range tmp {
			var sum float32
			for c, v := range tmp {
				if transposed {
					sum += t.h[c*t.core+r] * v
				} else {
					sum += t.h[r*t.core+c] * v
				}
			}
			x[r*size+b] = sum
		}
	}
}

// butterflies multiplies by Sylvester's matrix; len(x) is a power of two.
func butterflies(x []float32) {
	for half := 1; half < len(x); half *= 2 {
		for lo := 0; lo < len(x); lo += 2 * half {
			a, b := x[lo:lo+half], x[lo+half:lo+2*half]
			for i, v := range a {
				a[i], b[i] = v+b[i], v-b[i]
			}
		}
	}
}

// paley returns a Hadamard matrix of that size with a first column of ones, or nil where the construction gives none.
func paley(n int) []float32 {
	h := make([]float32, n*n)
	switch q := n - 1; {
	case n == 1:
		h[0] = 1
	case n%4 == 0 && q%4 == 3 && prime(q): // I + S, S skew
		core := residues(q, -1)
		for i := range n {
			for j := range n {
				h[i*n+j] = core[i*n+j]
			}
			h[i*n+i]++
		}
	case n%4 == 0 && (n/2-1)%4 == 1 && prime(n/2-1): // C ⊗ [1 1; 1 -1] + I ⊗ [1 -1; -1 -1], C symmetric
		m := n / 2
		core := residues(m-1, 1)
		for i := range n {
			for j := range n {
				v := core[i/2*m+j/2]
				if i%2 == 1 && j%2 == 1 {
					v = -v
				}
				if i/2 == j/2 {
					v = 1
					if i%2 == 1 || j%2 == 1 {
						v = -1
					}
				}
				h[i*n+j] = v
			}
		}
	default:
		return nil
	}
	for i := range n { // rows that begin with 1
		if h[i*n] < 0 {
			for j := range n {
				h[i*n+j] = -h[i*n+j]
			}
		}
	}
	return h
}

// residues returns the bordered Jacobsthal matrix [0 1; side Q], Q_ij = 1 where i-j is a square modulo q, else -1.
func residues(q int, side float32) []float32 {
	square := make([]bool, q)
	for i := 1; i < q; i++ {
		square[i*i%q] = true
	}
	n := q + 1
	m := make([]float32, n*n)
	for i := range q {
		m[i+1], m[(i+1)*n] = 1, side
		for j := range q {
			if d := (i - j + q) % q; d != 0 {
				m[(i+1)*n+j+1] = -1
				if square[d] {
					m[(i+1)*n+j+1] = 1
				}
			}
		}
	}
	return m
}

func prime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}
