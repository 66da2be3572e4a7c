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

// manyStreams says that what a core has on its way depends on how many places it reads from, as it does in those with AMX.
var manyStreams = cpu.X86.HasAMXTile

// askAhead says how far ahead kernels of AVX-512 shall ask for memory, to the first cache: 1 stands for 2 KiB, 2 for 6 KiB, 0 for what else each
// finds best. What fetches ahead by itself in a Zen 5, which of all that have AVX-VNNI too is the one without tiles, loses its way where
// loads leave the order of memory; in those with tiles it keeps less on the way than the memory could bring.
//
//lint:ignore U1000 kernels read it
var askAhead = func() uint8 {
	switch x := &cpu.X86; {
	case x.HasAMXTile:
		return 1
	case x.HasAVXVNNI:
		return 2
	}
	return 0
}()
