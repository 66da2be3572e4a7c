package gen

import (
	"fmt"
	"strings"
)

// pairRows lists how many rows the kernels of AVX-512 take at a time: eight are the queries that share a head in many models.
var pairRows = []int{8, 4, 2, 1}

// rowForms lists the rows of RowForm, in its order.
var rowForms = []string{"Words", "Signed", "Unsigned"}

// widePairsParams: see MulPairs. pages is a slice's first page, next that of nexts pages to be asked for, ahead
// bytes further than these; the last one has pairs and panels of its own. d is what
// lanes are multiplied by where pages hold no such thing, nil otherwise. Distances are in bytes, but those of ldc, lda, stepD and lds.
const widePairsParams = "c *float32, ldc int, a *int16, lda int, pages *[]byte, count int, next *[]byte, nexts int, ahead int, b int, d int, ones *float32, step int, stepD int, s *float32, lds int, groups int, fresh int, pairs int, panels int, lastPairs int, lastPanels int, blocks int, blockC int, blockA int, blockB int, blockD int, blockS int, pageC int, pageA int"

// Places of the frame of widePairs: counts of what is left and of what a page has, and where the kernel is, for c, b and d where the block began too.
const (
	leftGroups = 8 * iota
	leftPanels
	leftBlocks
	pagePairs
	pagePanels
	isFresh
	atC
	atA
	atB
	atS
	blockAtC
	blockAtB
	blockAtD
	rowPage // of the pages that a row goes on through: see pairsKernel.pages
	rowNext
	rowNexts
	rowCount
	wideFrame
)

// sliceSize is the bytes of a slice, of which the first eight are where it begins.
const sliceSize = 24

func widePairsFile() *file {
	f := &file{name: "widepairs", about: `
Products of rows of words or bytes with panels of bytes, AVX-512 with VNNI: see pairs.go. The sums are those of the other kernels, and so are the
float operations that follow.`}
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
		w.wordOrder(30)
	}
	if form == "Signed" {
		w.words(0x80808080, 31)
	}
	w.frame = wideFrame
	move := func(from, to string) {
		w.op("MOVQ %s, %s", from, temp)
		w.op("MOVQ %s, %s", temp, to)
	}
	add := func(from, to string) {
		w.op("MOVQ %s, %s", from, temp)
		w.op("ADDQ %s, %s", temp, to)
	}
	w.load("ldc", "R8")
	w.load("lda", "R9")
	w.load("lds", "R10")
	w.op("SHLQ $2, R8")
	w.op("SHLQ $1, R9")
	w.op("SHLQ $2, R10")
	page, block, last, apart, next := w.label("page"), w.label("block"), w.label("last"), w.label("apart"), w.label("next")
	w.at(page)
	if w.through() { // the place is the same in all pages
		w.load("ones", d)
		w.op("MOVQ %s, %s", d, inFrame(blockAtD))
		move(w.arg("b"), inFrame(atB))
		move(w.arg("b"), inFrame(blockAtB))
		move(w.arg("lastPanels"), inFrame(pagePanels))
	} else {
		paged := w.label("paged")
		w.load("pages", temp)
		w.op("MOVQ (%s), BX", temp)
		w.load("ones", d)
		w.op("CMPQ %s, $0", d)
		w.op("JNE %s", paged)
		w.op("MOVQ BX, %s", d)
		w.op("ADDQ %s, %s", w.arg("d"), d)
		w.at(paged)
		w.op("MOVQ %s, %s", d, inFrame(blockAtD))
		w.ahead("BX", w.arg("next"), w.arg("nexts"))
		w.op("ADDQ %s, BX", w.arg("b"))
		w.op("MOVQ BX, %s", inFrame(atB))
		w.op("MOVQ BX, %s", inFrame(blockAtB))
		whole, counted := w.label("whole"), w.label("counted")
		w.op("CMPQ %s, $1", w.arg("count"))
		w.op("JNE %s", whole)
		move(w.arg("lastPairs"), inFrame(pagePairs))
		move(w.arg("lastPanels"), inFrame(pagePanels))
		w.op("JMP %s", counted)
		w.at(whole)
		move(w.arg("pairs"), inFrame(pagePairs))
		move(w.arg("panels"), inFrame(pagePanels))
		w.at(counted)
	}
	move(w.arg("c"), inFrame(atC))
	move(w.arg("c"), inFrame(blockAtC))
	move(w.arg("a"), inFrame(atA))
	move(w.arg("s"), inFrame(atS))
	move(w.arg("blocks"), inFrame(leftBlocks))
	move(w.arg("fresh"), inFrame(isFresh))
	w.at(block)
	move(inFrame(pagePanels), inFrame(leftPanels))
	for _, panels := range []int{2, 1} {
		top, done := w.label("panels"), w.label("done")
		w.op("CMPQ %s, $%d", inFrame(leftPanels), panels)
		w.op("JLT %s", done)
		w.at(top)
		w.op("VMOVUPS (%s), %s", d, w.r(28))
		if panels == 2 {
			w.load("stepD", temp)
			w.op("VMOVUPS (%s)(%s*4), %s", d, temp, w.r(29))
		}
		w.op("MOVQ %s, DI", inFrame(atC))
		w.op("MOVQ %s, SI", inFrame(atA))
		w.op("MOVQ %s, DX", inFrame(atS))
		move(w.arg("groups"), inFrame(leftGroups))
		group := w.label("group")
		w.at(group)
		w.group(panels)
		w.op("SUBQ $1, %s", inFrame(leftGroups))
		w.op("JNE %s", group)
		w.op("ADDQ $%d, %s", 64*panels, inFrame(atC))
		for range panels {
			add(w.arg("step"), inFrame(atB))
			w.load("stepD", temp)
			w.op("LEAQ (%s)(%s*4), %[1]s", d, temp)
		}
		w.op("SUBQ $%d, %s", panels, inFrame(leftPanels))
		w.op("CMPQ %s, $%d", inFrame(leftPanels), panels)
		w.op("JGE %s", top)
		w.at(done)
	}
	w.op("SUBQ $1, %s", inFrame(leftBlocks))
	w.op("JEQ %s", last)
	add(w.arg("blockA"), inFrame(atA))
	add(w.arg("blockS"), inFrame(atS))
	add(w.arg("blockC"), inFrame(blockAtC))
	move(inFrame(blockAtC), inFrame(atC))
	add(w.arg("blockB"), inFrame(blockAtB))
	move(inFrame(blockAtB), inFrame(atB))
	add(w.arg("blockD"), inFrame(blockAtD))
	w.op("MOVQ %s, %s", inFrame(blockAtD), d)
	w.op("CMPQ %s, $0", w.arg("blockC"))
	w.op("JNE %s", apart)
	w.op("MOVQ $0, %s", inFrame(isFresh))
	w.at(apart)
	w.op("JMP %s", block)
	w.at(last)
	if !w.through() {
		w.op("ADDQ $%d, %s", sliceSize, w.arg("pages"))
		add(w.arg("pageC"), w.arg("c"))
		add(w.arg("pageA"), w.arg("a"))
		w.op("CMPQ %s, $0", w.arg("pageC"))
		w.op("JNE %s", next)
		w.op("MOVQ $0, %s", w.arg("fresh"))
		w.at(next)
		w.op("SUBQ $1, %s", w.arg("count"))
		w.op("JNE %s", page)
	}
	w.ret()
	return k
}

// inFrame is a place of the frame.
func inFrame(at int) string { return fmt.Sprintf("%d(SP)", at) }

// pairsKernel: c at DI, R8 apart; a at SI, R9 apart, where its pairs are at bases; b at BX and, for a second panel, R13 behind; what is
// asked for R15 behind; s at DX, R10 apart.
type pairsKernel struct {
	kernel
	form  string
	rows  int
	bases []string
}

// through reports whether a row goes on through all pages, and its sums are of all of them, rather than meeting one page after the other.
func (k pairsKernel) through() bool { return k.form == "Unsigned" }

// ahead sets R15 to what leads from a page to the one to be asked for, 0 where there is none, and goes on to the next one.
func (k pairsKernel) ahead(page, next, nexts string) {
	nothing := k.label("nothing")
	k.op("XORQ R15, R15")
	k.op("SUBQ $1, %s", nexts)
	k.op("JLT %s", nothing)
	k.op("MOVQ %s, R15", next)
	k.op("MOVQ (R15), R15")
	k.op("SUBQ %s, R15", page)
	k.op("ADDQ %s, R15", k.arg("ahead"))
	k.op("ADDQ $%d, %s", sliceSize, next)
	k.at(nothing)
}

// pages calls body for all pages, BX at the panel.
func (k pairsKernel) pages(pairs string, body func()) {
	const temp = "BX"
	for i, from := range []string{"pages", "next", "nexts", "count"} {
		k.load(from, temp)
		k.op("MOVQ %s, %s", temp, inFrame(rowPage+8*i))
	}
	top, whole := k.label("page"), k.label("whole")
	k.at(top)
	k.op("MOVQ %s, BX", inFrame(rowPage))
	k.op("MOVQ (BX), BX")
	k.ahead("BX", inFrame(rowNext), inFrame(rowNexts))
	k.op("ADDQ %s, BX", inFrame(atB))
	k.load("pairs", pairs)
	k.op("CMPQ %s, $1", inFrame(rowCount))
	k.op("JNE %s", whole)
	k.load("lastPairs", pairs)
	k.at(whole)
	body()
	k.op("ADDQ $%d, %s", sliceSize, inFrame(rowPage))
	k.op("SUBQ $1, %s", inFrame(rowCount))
	k.op("JNE %s", top)
}

// group multiplies a group of rows with one or two panels.
func (k pairsKernel) group(panels int) {
	const pairs = "CX"
	k.load("step", "R13")
	k.op("MOVQ SI, %s", k.bases[0])
	k.rowBases(k.bases, "R9")
	sums := k.rows * panels
	for i := range sums {
		if k.form == "Signed" {
			t := i / panels
			if i%panels == 0 {
				k.op("VPBROADCASTD %s, %s", third(k.bases[t/3], "R9", t%3, signedStart), k.r(i))
			} else {
				k.op("VMOVDQA64 %s, %s", k.r(i-1), k.r(i))
			}
		} else {
			k.zero(i)
		}
	}
	step, bytes := 1, 4 // pairs at a time, and how much of a row they are
	if k.form != "Words" {
		step, bytes = 2, 2
	}
	page := func() {
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
	}
	if k.through() {
		k.pages(pairs, page)
	} else {
		k.op("MOVQ %s, %s", inFrame(pagePairs), pairs)
		k.op("MOVQ %s, BX", inFrame(atB))
		page()
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
	k.op("CMPQ %s, $0", inFrame(isFresh))
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
