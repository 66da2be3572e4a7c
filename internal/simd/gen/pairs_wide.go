package gen

import (
	"fmt"
	"strings"
)

// pairRows lists how many rows the kernels of AVX-512 take at a time: eight are the queries that share a head in many models.
var pairRows = []int{8, 4, 2, 1}

// widePairsParams: toC and so on lead from the end of a block to the next, in bytes; sums of blocks are added up where blockC is 0.
const widePairsParams = mulPairsParams + ", blocks int, toC int, toA int, toB int, toD int, toS int, blockC int"

func widePairsFile() *file {
	f := &file{name: "widepairs", about: `
Products of rows of words with panels of bytes, AVX-512 with VNNI: see pairs.go. The sums are those of the other kernels, and so are the
float operations that follow.`}
	var b strings.Builder
	fmt.Fprintf(&b, "// widePairsKernel runs the kernel for groups of so many rows.\n")
	fmt.Fprintf(&b, "func widePairsKernel(rows int, %s) {\n\tswitch rows {\n", widePairsParams)
	for _, rows := range pairRows {
		k := widePairs(f, rows)
		fmt.Fprintf(&b, "\tcase %d:\n\t\t%s(%s)\n", rows, k.fn.name, names(widePairsParams))
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	f.table = b.String()
	return f
}

// widePairs writes the kernel for groups of rows and some panels, two at a time: a pair of rows of bytes of a panel, as words, is one
// register, and VPDPWSSD adds its products with a row's pair of words.
//
// Registers: 0 to 15 the sums, 24 and 25 pairs of bytes of the panels as words, 26 and 27 a row's pair or scale in all lanes, 28 and 29
// the scales of the panels' lanes.
func widePairs(f *file, rows int) kernel {
	k := newKernel(f, avx512, fmt.Sprintf("widePairs%d", rows), "", widePairsParams, "")
	const d, temp = "AX", "R13"
	w := pairsKernel{k, rows, []string{"R11", "R12", "R14"}[:(rows+2)/3]}
	w.frame = 16 // groups to go, panels
	w.load("ldc", "R8")
	w.load("lda", "R9")
	w.load("lds", "R10")
	w.load("d", d)
	w.load("next", "R15")
	w.op("SUBQ %s, R15", w.arg("b"))
	w.op("SHLQ $2, R8")
	w.op("SHLQ $1, R9")
	w.op("SHLQ $2, R10")
	w.load("panels", temp)
	w.op("MOVQ %s, 8(SP)", temp)
	block, end, apart := w.label("block"), w.label("end"), w.label("apart")
	w.at(block)
	for _, panels := range []int{2, 1} {
		w.load("panels", temp)
		top, done := w.label("panels"), w.label("done")
		w.op("CMPQ %s, $%d", temp, panels)
		w.op("JLT %s", done)
		w.at(top)
		w.op("VMOVUPS (%s), %s", d, w.r(28))
		if panels == 2 {
			w.load("stepD", temp)
			w.op("VMOVUPS (%s)(%s*4), %s", d, temp, w.r(29))
		}
		w.load("c", "DI")
		w.load("a", "SI")
		w.load("s", "DX")
		w.load("groups", temp)
		w.op("MOVQ %s, 0(SP)", temp)
		group := w.label("group")
		w.at(group)
		w.group(panels)
		w.op("SUBQ $1, 0(SP)")
		w.op("JNE %s", group)
		w.op("ADDQ $%d, %s", 64*panels, w.arg("c"))
		for range panels {
			w.load("step", temp)
			w.op("ADDQ %s, %s", temp, w.arg("b"))
			w.load("stepD", temp)
			w.op("LEAQ (%s)(%s*4), %[1]s", d, temp)
		}
		w.op("SUBQ $%d, %s", panels, w.arg("panels"))
		w.op("CMPQ %s, $%d", w.arg("panels"), panels)
		w.op("JGE %s", top)
		w.at(done)
	}
	w.op("SUBQ $1, %s", w.arg("blocks"))
	w.op("JEQ %s", end)
	for _, p := range []string{"C", "A", "B", "S"} {
		w.load("to"+p, temp)
		w.op("ADDQ %s, %s", temp, w.arg(strings.ToLower(p)))
	}
	w.op("ADDQ %s, %s", w.arg("toD"), d)
	w.op("MOVQ 8(SP), %s", temp)
	w.op("MOVQ %s, %s", temp, w.arg("panels"))
	w.op("CMPQ %s, $0", w.arg("blockC"))
	w.op("JNE %s", apart)
	w.op("MOVQ $0, %s", w.arg("fresh"))
	w.at(apart)
	w.op("JMP %s", block)
	w.at(end)
	w.ret()
	return k
}

// pairsKernel: c at DI, R8 apart; a at SI, R9 apart, where its pairs are at bases; b at BX and, for a second panel, R13 behind; what is
// asked for R15 behind; s at DX, R10 apart.
type pairsKernel struct {
	kernel
	rows  int
	bases []string
}

// group multiplies a group of rows with one or two panels.
func (k pairsKernel) group(panels int) {
	const pairs = "CX"
	k.load("b", "BX")
	k.load("pairs", pairs)
	k.load("step", "R13")
	k.op("MOVQ SI, %s", k.bases[0])
	k.rowBases(k.bases, "R9")
	sums := k.rows * panels
	for i := range sums {
		k.zero(i)
	}
	for _, unroll := range []int{8, 1} {
		k.loop(pairs, unroll, func() {
			for u := range unroll {
				k.pair(panels, u)
			}
			for _, base := range k.bases {
				k.op("ADDQ $%d, %s", 4*unroll, base)
			}
			k.op("ADDQ $%d, BX", 32*unroll)
		})
	}
	for i := range sums {
		k.op("VCVTDQ2PS %s, %[1]s", k.r(i))
		k.op("VMULPS %s, %s, %[2]s", k.r(28+i%panels), k.r(i))
	}
	set, stored := k.label("set"), k.label("stored")
	finish := func(accumulate bool) {
		for t := range k.rows {
			k.op("VBROADCASTSS (DX), %s", k.r(26))
			for j := range panels {
				at, sum := fmt.Sprintf("%d(DI)", 64*j), k.r(t*panels+j)
				if accumulate {
					k.op("VFMADD213PS %s, %s, %s", at, k.r(26), sum)
				} else {
					k.op("VMULPS %s, %s, %[2]s", k.r(26), sum)
				}
				k.op("VMOVUPS %s, %s", sum, at)
			}
			k.op("ADDQ R8, DI")
			k.op("ADDQ R10, DX")
			k.op("ADDQ R9, SI")
		}
	}
	k.op("CMPQ %s, $0", k.arg("fresh"))
	k.op("JNE %s", set)
	finish(true)
	k.op("JMP %s", stored)
	k.at(set)
	finish(false)
	k.at(stored)
}

// pair multiplies with pair u: what the rows have for it is loaded once for both panels, since a core does as many products a cycle as
// it loads.
func (k pairsKernel) pair(panels, u int) {
	if u%2 == 0 {
		k.op("PREFETCHT1 %d(BX)(R15*1)", 32*u)
		if panels == 2 {
			k.op("ADDQ R13, R15")
			k.op("PREFETCHT1 %d(BX)(R15*1)", 32*u)
			k.op("SUBQ R13, R15")
		}
	}
	for j := range panels {
		k.op("VPMOVSXBW %s, %s", third("BX", "R13", j, 32*u), k.r(24+j))
	}
	for t := range k.rows {
		x := third(k.bases[t/3], "R9", t%3, 4*u)
		if panels == 1 {
			k.op("VPDPWSSD.BCST %s, %s, %s", x, k.r(24), k.r(t))
			continue
		}
		k.op("VPBROADCASTD %s, %s", x, k.r(26+t%2))
		for j := range panels {
			k.op("VPDPWSSD %s, %s, %s", k.r(26+t%2), k.r(24+j), k.r(panels*t+j))
		}
	}
}
