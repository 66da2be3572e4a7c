package gen

import (
	"fmt"
	"strings"
)

// pairRows lists how many rows the kernels of AVX-512 take at a time: eight are the queries that share a head in many models.
var pairRows = []int{8, 4, 2, 1}

func widePairsFile() *file {
	f := &file{name: "widepairs", about: `
Products of rows of words with panels of bytes, AVX-512 with VNNI: see pairs.go. The sums are those of the other kernels, and so are the
float operations that follow.`}
	var b strings.Builder
	fmt.Fprintf(&b, "// widePairsKernel runs the kernel for groups of so many rows.\n")
	fmt.Fprintf(&b, "func widePairsKernel(rows int, %s) {\n\tswitch rows {\n", mulPairsParams)
	for _, rows := range pairRows {
		k := widePairs(f, rows)
		fmt.Fprintf(&b, "\tcase %d:\n\t\t%s(%s)\n", rows, k.fn.name, names(mulPairsParams))
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	f.table = b.String()
	return f
}

// widePairs writes the kernel for groups of rows and some panels: a pair of rows of bytes of a panel, as words, is one register, and
// VPDPWSSD adds its products with a row's pair of words.
//
// Registers: 0 to 7 the sums, 24 and 25 pairs of bytes as words, 28 the scales of the lanes, 29 that of a row.
func widePairs(f *file, rows int) kernel {
	k := newKernel(f, avx512, fmt.Sprintf("widePairs%d", rows), "", mulPairsParams, "")
	k.frame = 8 // groups to go
	const c, ldc, a, lda, b, s, lds, n, d, ahead, temp = "DI", "R8", "SI", "R9", "BX", "DX", "R10", "CX", "AX", "R15", "R13"
	const groups = "0(SP)"
	bases := []string{"R11", "R12", "R14"}[:(rows+2)/3]
	k.load("ldc", ldc)
	k.load("lda", lda)
	k.load("lds", lds)
	k.load("d", d)
	k.load("next", ahead)
	k.op("SUBQ %s, %s", k.arg("b"), ahead)
	k.op("SHLQ $2, %s", ldc)
	k.op("SHLQ $1, %s", lda)
	k.op("SHLQ $2, %s", lds)
	panel, group := k.label("panel"), k.label("group")
	k.at(panel)
	k.load("c", c)
	k.load("a", a)
	k.load("s", s)
	k.load("groups", temp)
	k.op("MOVQ %s, %s", temp, groups)
	k.op("VMOVUPS (%s), %s", d, k.r(28))
	k.at(group)
	k.load("b", b)
	k.load("pairs", n)
	k.op("MOVQ %s, %s", a, bases[0])
	for i := 1; i < len(bases); i++ {
		k.op("LEAQ (%s)(%s*2), %s", bases[i-1], lda, bases[i])
		k.op("ADDQ %s, %s", lda, bases[i])
	}
	for i := range rows {
		k.zero(i)
	}
	for _, unroll := range []int{8, 1} {
		k.loop(n, unroll, func() {
			for u := range unroll {
				if u%2 == 0 {
					k.op("PREFETCHT1 %d(%s)(%s*1)", 32*u, b, ahead)
				}
				w := k.r(24 + u%2)
				k.op("VPMOVSXBW %d(%s), %s", 32*u, b, w)
				for i := range rows {
					k.op("VPDPWSSD.BCST %s, %s, %s", third(bases[i/3], lda, i%3, 4*u), w, k.r(i))
				}
			}
			for _, base := range bases {
				k.op("ADDQ $%d, %s", 4*unroll, base)
			}
			k.op("ADDQ $%d, %s", 32*unroll, b)
		})
	}
	for i := range rows {
		k.op("VCVTDQ2PS %s, %[1]s", k.r(i))
		k.op("VMULPS %s, %s, %[2]s", k.r(28), k.r(i))
	}
	set, stored := k.label("set"), k.label("stored")
	finish := func(format string) {
		for i := range rows {
			k.op("VBROADCASTSS (%s), %s", s, k.r(29))
			k.op(format, k.r(29), k.r(i))
			k.op("VMOVUPS %s, (%s)", k.r(i), c)
			k.op("ADDQ %s, %s", ldc, c)
			k.op("ADDQ %s, %s", lds, s)
			k.op("ADDQ %s, %s", lda, a)
		}
	}
	k.op("CMPQ %s, $0", k.arg("fresh"))
	k.op("JNE %s", set)
	finish("VFMADD213PS (" + c + "), %s, %s")
	k.op("JMP %s", stored)
	k.at(set)
	finish("VMULPS %s, %s, %[2]s")
	k.at(stored)
	k.op("SUBQ $1, %s", groups)
	k.op("JNE %s", group)
	k.op("ADDQ $64, %s", k.arg("c"))
	k.load("step", temp)
	k.op("ADDQ %s, %s", temp, k.arg("b"))
	k.load("stepD", temp)
	k.op("LEAQ (%s)(%s*4), %[1]s", d, temp)
	k.op("SUBQ $1, %s", k.arg("panels"))
	k.op("JNE %s", panel)
	k.ret()
	return k
}
