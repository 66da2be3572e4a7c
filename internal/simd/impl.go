package simd

import "os"

// An implementation is a set of kernels. Those of one CPU family are ordered: each may use the ones before it where it
// has no kernel of its own.
type implementation int

const (
	generic implementation = iota // plain Go
	avx2                          // x86: AVX2, FMA, F16C, BMI2
	avx512                        // x86: AVX-512 F, BW, DQ, VL and VNNI too
	amx                           // x86: AMX tiles of int8 and bfloat16 too
	neon                          // ARM64: what every one has
	dotprod                       // ARM64: SDOT of ARMv8.2 too
)

// x86 reports whether it is one of x86: some kernels exist there alone.
func (i implementation) x86() bool { return i == avx2 || i == avx512 || i == amx }

var implementationNames = [...]string{generic: "generic", avx2: "avx2", avx512: "avx512", amx: "amx", neon: "neon", dotprod: "dotprod"}

// impl is the implementation in use, of vector kernels: avx512 where tiles are in use beside it. Tests change them; nothing
// else does after init.
var (
	impl  implementation
	tiles bool
)

// use puts an implementation in use.
func use(i implementation) {
	if impl, tiles = i, i == amx; tiles {
		impl = avx512
	}
}

// inUse returns the implementation in use.
func inUse() implementation {
	if tiles {
		return amx
	}
	return impl
}

// noKernels is the panic of kernels that this build does not have.
const noKernels = "simd: no such kernel"

// refused is what PARE_SIMD asked for in vain.
var refused string

func init() {
	use(fastest)
	if name := os.Getenv("PARE_SIMD"); name != "" {
		refused = name
		for i, n := range implementationNames {
			if n == name && available(implementation(i)) {
				use(implementation(i))
				refused = ""
			}
		}
	}
}

// available reports whether this CPU and this build have an implementation.
func available(i implementation) bool { return i == generic || i >= least && i <= best }

// Kernel names the implementation in use: the fastest this CPU has, or the one the environment variable PARE_SIMD names:
// generic, avx2, avx512, amx, neon or dotprod. A name that this CPU or this build does not have changes nothing and is mentioned.
func Kernel() string {
	s := implementationNames[inUse()]
	if refused != "" {
		s += " (no " + refused + " here)"
	}
	return s
}
