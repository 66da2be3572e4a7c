package gen

import (
	"fmt"
	"strings"
)

// pairRows lists how many rows the kernels of AVX-512 take at a time: eight are the queries that share a head in many models.
var pairRows = []int{8, 4, 2, 1}

// rowForms lists the rows of RowForm, in its order.
var rowForms = []string{"Words", "Signed", "Unsigned"}

// widePairsParams: toC and so on lead from the end of a block to the next, in bytes; sums of blocks are added up where blockC is 0.
const widePairsParams = mulPairsParams + ", blocks int, toC int, toA int, toB int, toD int, toS int, blockC int"

func widePairsFile() *file {
	f := &file{name: "widepairs", about: `
Products of rows of words or bytes with panels of bytes, AVX-512 with VNNI: see pairs.go. The sums are those of the other kernels, and so are the
float operations that follow.`}
	order := make([]uint32, 16) // word 2i from the first half, word 2i+1 from the second
	for i := range order {
		order[i] = uint32(i) | uint32(i+16)<<16
	}
	f.datum("pairs_order", order)
	var b strings.Builder
	fmt.Fprintf(&b, "// widePairsKernel runs the kernel for groups of so many rows of that form.\n")
	fmt.Fprintf(&b, "func widePairsKernel(form RowForm, rows int, %s) {\n\tswitch int(form)<<4 | rows {\n", widePairsParams)
	for _, form := range rowForms {
		for _, rows := range pairRows {
			k := widePairs(f, form, rows)
			fmt.Fprintf(&b, "\tcase int(Row%s)<<4 | %d:\n\t\t%s(%s)\n", form, rows, k.fn.name, names(widePairsParams))
		}
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	f.table = b.String()
	return f
}

// widePairs writes the kernel for groups of rows and some panels, two at a time. For rows of words a pair of rows of bytes of a panel, as words,
// is one register, and VPDPWSSD adds its products with a row's pair of words. For rows of bytes it is two pairs, whose four bytes of a lane are brought
// together, and VPDPBUSD does twice as much. One of its operands is unsigned: where rows are signed, those of a panel get 128 added, and
// sums begin with what that makes too much.
//
// Registers: 0 to 15 the sums, 24 and 25 bytes of the panels, 26 and 27 a row's or its scale in all lanes, 28 and 29 the scales of the panels' lanes,
// 30 the order of words, 31 the 128s.
func widePairs(f *file, form string, rows int) kernel {
	k := newKernel(f, avx512, fmt.Sprintf("wide%s%d", form, rows), "", widePairsParams, "")
	const d, temp = "AX", "R13"
	w := pairsKernel{k, form, rows, []string{"R11", "R12", "R14"}[:(rows+2)/3]}
	if form != "Words" {
		w.op("VMOVDQU64 pairs_order<>(SB), %s", w.r(30))
	}
	if form == "Signed" {
		w.words(0x80808080, 31)
	}
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
	form  string
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
		if k.form == "Signed" {
			t := i / panels
			k.op("VPBROADCASTD %s, %s", third(k.bases[t/3], "R9", t%3, signedStart), k.r(i))
		} else {
			k.zero(i)
		}
	}
	step, bytes := 1, 4 // pairs at a time, and how much of a row they are
	if k.form != "Words" {
		step, bytes = 2, 2
	}
	for _, unroll := range []int{8, step} {
		k.loop(pairs, unroll, func() {
			for u := 0; u < unroll; u += step {
				if step == 1 {
					k.pair(panels, u)
				} else {
					k.quad(panels, u)
				}
			}
			for _, base := range k.bases {
				k.op("ADDQ $%d, %s", bytes*unroll, base)
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

// signedStart is where in a block of a row of signed bytes, 32 of them, lies what its sums begin with.
const signedStart = 32

// ask asks for what two pairs from u on will be the next time.
func (k pairsKernel) ask(panels, u int) {
	k.op("PREFETCHT1 %d(BX)(R15*1)", 32*u)
	if panels == 2 {
		k.op("ADDQ R13, R15")
		k.op("PREFETCHT1 %d(BX)(R15*1)", 32*u)
		k.op("SUBQ R13, R15")
	}
}

// pair multiplies with pair u: what the rows have for it is loaded once for both panels, since a core does as many products a cycle as
// it loads.
func (k pairsKernel) pair(panels, u int) {
	if u%2 == 0 {
		k.ask(panels, u)
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

// quad multiplies with pairs u and u+1 of rows of bytes.
func (k pairsKernel) quad(panels, u int) {
	k.ask(panels, u)
	for j := range panels {
		k.op("VPERMW %s, %s, %s", third("BX", "R13", j, 32*u), k.r(30), k.r(24+j))
		if k.form == "Signed" {
			k.op("VPXORD %s, %s, %[2]s", k.r(31), k.r(24+j))
		}
	}
	for t := range k.rows {
		x := k.r(26 + t%2)
		k.op("VPBROADCASTD %s, %s", third(k.bases[t/3], "R9", t%3, 2*u), x)
		for j := range panels {
			if k.form == "Signed" {
				k.op("VPDPBUSD %s, %s, %s", x, k.r(24+j), k.r(panels*t+j))
			} else {
				k.op("VPDPBUSD %s, %s, %s", k.r(24+j), x, k.r(panels*t+j))
			}
		}
	}
}
