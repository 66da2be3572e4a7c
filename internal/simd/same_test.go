package simd

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// Every implementation of a quantized product gives the bits of the generic one: rows of all lengths up to 257 that the
// format has, one to several rows of activations, weights and activations ending at pages that fault.
func TestMulSameBits(t *testing.T) {
	was := inUse()
	defer use(was)
	defer func(n int, abreast bool) { sideBytes, unitsAbreast = n, abreast }(sideBytes, unitsAbreast)
	r := rand.New(rand.NewPCG(61, 62))
	weights, codes, numbers := guarded(t, 16), guarded(t, 16), newArena(t, 16)
	// product multiplies m with n rows of x, which end at a guard page in the form that kernels for several rows read.
	product := func(m *Matrix, x []float32, n int) []float32 {
		rows, cols := m.Size()
		var a Acts
		a.Reset(x, n, cols)
		if g := &a.grouped; g.on || g.beside {
			q := codes[len(codes)-len(g.q):]
			g.q, g.meta = unsafe.Slice((*int8)(unsafe.Pointer(&q[0])), len(q)), numbers.place(len(g.meta), -1)
		}
		a.Quantize(0, n)
		dst := make([]float32, n*rows)
		m.Mul(dst, rows, &a, 0, rows, false)
		return dst
	}
	for _, format := range quantNames() {
		f, unit := lookupQuant(format), 2
		if f.values > 0 {
			unit = f.values
		}
		for cols := unit; cols <= max(257, unit); cols += unit {
			rows := 1 + r.IntN(100)
			sideBytes, unitsAbreast = r.IntN(2)<<20, r.IntN(2) == 0
			for _, n := range []int{1, 2, 3, 7, 13, 40}[r.IntN(3):] {
				seed := r.Uint64()
				packed := func(i implementation) *Matrix { // as it lays out weights
					use(i)
					w := rand.New(rand.NewPCG(seed, 0))
					m, _ := newTestMatrix(t, w, format, rows, cols, func() float32 { return (w.Float32() - 0.4) / 8 })
					b := weights[len(weights)-len(m.data):]
					copy(b, m.data)
					m.data = b
					return m
				}
				x := random(r, n*cols)
				want := product(packed(generic), x, n)
				for i := range implementationNames {
					if i := implementation(i); i == generic || !available(i) || i >= avx512 && f.kind == kindSA { // read as unsigned there
						continue
					}
					for j, v := range product(packed(implementation(i)), x, n) {
						if math.Float32bits(v) != math.Float32bits(want[j]) {
							t.Fatalf("%s, %s, %d rows of %d, %d rows of activations: [%d,%d] is %v, want %v", implementationNames[inUse()], format, rows, cols, n, j/rows, j%rows, v, want[j])
						}
					}
				}
				if n > 3 && cols > 4*unit && r.IntN(3) > 0 { // enough
					break
				}
			}
		}
	}
}
