//go:build amd64 && !purego

package simd

import "golang.org/x/sys/cpu"

// least is the first of this CPU family.
const least = avx2

// best is the highest implementation this CPU can run, fastest the one to use unless told otherwise.
var best, fastest = func() (implementation, implementation) {
	x := &cpu.X86
	if !(x.HasAVX2 && x.HasFMA && x.HasF16C && x.HasBMI2) {
		return generic, generic
	}
	if !(x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512VNNI) {
		return avx2, avx2
	}
	if x.HasAMXTile && x.HasAMXInt8 && x.HasAMXBF16 && allowTiles() {
		return amx, amx
	}
	return avx512, avx512
}()

var hasBrainDots = cpu.X86.HasAVX512BF16

// farAhead says that kernels of AVX-512 shall ask for memory far ahead, to the first cache: what fetches ahead by itself in a Zen 5, which
// of all that have AVX-VNNI too is the one without tiles, loses its way where loads leave the order of memory.
//
//lint:ignore U1000 kernels read it
var farAhead = cpu.X86.HasAVXVNNI && !cpu.X86.HasAMXTile
