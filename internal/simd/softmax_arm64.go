//go:build arm64 && !purego

package simd

import "unsafe"

// softmaxGradVector is the kernel of x86 in passes of others. See SoftmaxGrad.
func softmaxGradVector(p, dp *float32, ld, rows, n int, lse, delta *float32) {
	end := (rows-1)*ld + n
	ps, dps := unsafe.Slice(p, end), unsafe.Slice(dp, end)
	lses, deltas := unsafe.Slice(lse, rows), unsafe.Slice(delta, rows)
	for i := range rows {
		e, g := &ps[i*ld], &dps[i*ld]
		scaleVector(e, e, n, 1, -lses[i])
		expVector(e, e, n)
		scaleVector(g, g, n, 1, -deltas[i])
		mulVector(g, g, e, n)
	}
}
