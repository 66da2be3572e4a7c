package simd

import "math"

// DoubleRows and DoubleColumns are the size of the tile of float64 products.
const (
	DoubleRows    = 6
	DoubleColumns = 8
)

// DoubleTile computes C -= A·B in float64 for one tile, on the calling thread: C is [6,8] with rows ldc values apart, element
// (i,l) of A is a[6l+i], element (l,j) of B is b[8l+j]. The sum over k starts from zero and runs in the order of k.
func DoubleTile(c []float64, ldc int, a, b []float64, k int) {
	if k == 0 {
		return
	}
	_ = c[(DoubleRows-1)*ldc+DoubleColumns-1] // the kernel does not check
	_, _ = a[DoubleRows*k-1], b[DoubleColumns*k-1]
	if impl.x86() {
		doubleTile6x8(&c[0], 8*ldc, &a[0], &b[0], k)
		return
	}
	var s [DoubleRows][DoubleColumns]float64
	for l := range k {
		x, y := (*[DoubleRows]float64)(a[DoubleRows*l:]), (*[DoubleColumns]float64)(b[DoubleColumns*l:])
		for i, v := range x {
			for j, w := range y {
				s[i][j] = math.FMA(v, w, s[i][j])
			}
		}
	}
	for i, row := range s {
		for j, v := range row {
			c[i*ldc+j] -= v
		}
	}
}
