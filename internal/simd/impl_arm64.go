//go:build arm64 && !purego

package simd

import (
	"runtime"

	"golang.org/x/sys/cpu"
)

// least is the first of this CPU family.
const least = neon

// best is the highest implementation this CPU can run, fastest the one to use unless told otherwise. Linux tells by HWCAP
// what there is; every ARM CPU of Apple's that runs macOS has SDOT.
var best, fastest = func() (implementation, implementation) {
	if cpu.ARM64.HasASIMDDP || runtime.GOOS == "darwin" {
		return dotprod, dotprod
	}
	return neon, neon
}()

const hasBrainDots, manyStreams = false, false
