package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/parelm/pare/internal/par"
)

// everyImplementation runs a test on each implementation this CPU has.
func everyImplementation(t *testing.T, f func(t *testing.T)) {
	was := inUse()
	defer use(was)
	defer func(n int) { sideBytes = n }(sideBytes)
	sideBytes = 0 // short tiles, too
	for i, name := range implementationNames {
		if available(implementation(i)) {
			use(implementation(i))
			t.Run(name, f)
		}
	}
}

func random(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = r.Float32()*2 - 1
	}
	return x
}

// gemmExact is the meaning of Gemm in float64; it also returns the sum of magnitudes, to which rounding errors are relative.
func gemmExact(c []float32, ldc int, a, b operand, m, n, k int, accumulate bool) (want, size []float64) {
	want, size = make([]float64, m*n), make([]float64, m*n)
	for i := range m {
		for j := range n {
			var s, z float64
			if accumulate {
				s = float64(c[i*ldc+j])
				z = math.Abs(s)
			}
			for l := range k {
				p := float64(a.v[a.at(i, l)]) * float64(b.v[b.at(l, j)])
				s += p
				z += math.Abs(p)
			}
			want[i*n+j], size[i*n+j] = s, z
		}
	}
	return want, size
}

// testGemm checks one product against float64, and that nothing between the rows of C is touched.
func testGemm(t *testing.T, r *rand.Rand, m, n, k int, aT, bT, accumulate bool, pad int, mul func(c []float32, ldc int, a, b operand)) {
	t.Helper()
	a, b := operand{nil, k + pad, aT}, operand{nil, n + pad, bT}
	ar, br := m, k
	if aT {
		a.ld, ar = m+pad, k
	}
	if bT {
		b.ld, br = k+pad, n
	}
	a.v, b.v = random(r, max(0, ar*a.ld-pad)), random(r, max(0, br*b.ld-pad))
	ldc := n + pad
	c := random(r, max(0, m*ldc-pad))
	was := append([]float32(nil), c...)
	want, size := gemmExact(c, ldc, a, b, m, n, k, accumulate)
	mul(c, ldc, a, b)
	for i, v := range c {
		row, col := i/ldc, i%ldc
		if col >= n {
			if v != was[i] {
				t.Fatalf("m=%d n=%d k=%d aT=%v bT=%v: wrote between rows at %d,%d", m, n, k, aT, bT, row, col)
			}
			continue
		}
		at := row*n + col
		if d := math.Abs(float64(v) - want[at]); !(d <= 1e-6*size[at]+1e-30) {
			t.Fatalf("m=%d n=%d k=%d aT=%v bT=%v acc=%v: C[%d,%d] = %v, want %v", m, n, k, aT, bT, accumulate, row, col, v, want[at])
		}
	}
}

func TestGemm(t *testing.T) {
	sizes := []int{1, 2, 3, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 31, 33, 48, 64, 97}
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for range 3000 {
			m, n, k := sizes[r.IntN(len(sizes))], sizes[r.IntN(len(sizes))], sizes[r.IntN(len(sizes))]
			aT, bT, acc := r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
			testGemm(t, r, m, n, k, aT, bT, acc, r.IntN(3), func(c []float32, ldc int, a, b operand) {
				Gemm(c, ldc, a.v, a.ld, a.t, b.v, b.ld, b.t, m, n, k, acc)
			})
		}
		for _, s := range [][3]int{{1, 1, 0}, {3, 4, 0}, {0, 5, 5}, {5, 0, 5}, {100, 700, 300}, {700, 100, 513}, {200, 40, 1000}, {7, 300, 600}, {1, 1000, 600}, {300, 3, 600}, {3100, 20, 30}, {20, 4100, 30}} {
			for tr := range 4 {
				testGemm(t, r, s[0], s[1], s[2], tr&1 != 0, tr&2 != 0, tr == 0, 2, func(c []float32, ldc int, a, b operand) {
					Gemm(c, ldc, a.v, a.ld, a.t, b.v, b.ld, b.t, s[0], s[1], s[2], tr == 0)
				})
			}
		}
	})
}

// BenchmarkGemm reports GFLOP/s and the share of the ceiling: a loop of multiply-adds on registers, run right before and
// after on the same number of threads, so that a busy machine slows both.
func BenchmarkGemm(b *testing.B) {
	for _, s := range []struct {
		m, n, k int
		aT, bT  bool
	}{
		{2048, 2048, 2048, false, false},
		{2048, 688, 256, false, false}, // forward
		{256, 688, 2048, true, false},  // gradient of the weight
		{2048, 256, 688, false, true},  // gradient of the input
		{512, 512, 64, false, true},    // attention scores
		{512, 64, 512, false, false},   // attention values
		{8, 2048, 2048, false, false},
		{1, 2048, 2048, false, false},
		{1, 2048, 2048, false, true},
		{8, 2048, 2048, false, true},
		{2048, 1, 2048, false, false},
		{64, 64, 64, false, false},
		{16, 16, 16, false, false},
	} {
		t := func(t bool) string { return map[bool]string{false: "N", true: "T"}[t] }
		b.Run(fmt.Sprintf("%dx%dx%d%s%s", s.m, s.n, s.k, t(s.aT), t(s.bT)), func(b *testing.B) {
			par.SetThreads(1)
			defer par.SetThreads(0)
			r := rand.New(rand.NewPCG(1, 2))
			x, y, c := random(r, s.m*s.k), random(r, s.k*s.n), make([]float32, s.m*s.n)
			lda, ldb := s.k, s.n
			if s.aT {
				lda = s.m
			}
			if s.bT {
				ldb = s.k
			}
			best, ceil := bestRatio(b, func() {
				Gemm(c, s.n, x, lda, s.aT, y, ldb, s.bT, s.m, s.n, s.k, false)
			})
			gflops := 2 * float64(s.m) * float64(s.n) * float64(s.k) / best / 1e9
			b.ReportMetric(gflops, "GFLOP/s")
			b.ReportMetric(100*gflops/ceil, "%peak")
		})
	}
}
