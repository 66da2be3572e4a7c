package gen

import (
	"math"
	"slices"
)

// Scores of a page of keys become exponentials, all steps of all rows in one go: a page is too short for a call each. One page's
// exponentials take less than those of funcs.go: the argument is not positive, and what is below the normal range need not be exact.
func softmaxFile() *file {
	f := &file{name: "softmax", about: `
Rows of scores become exponentials relative to the largest: see softmax.go. The sums of both widths are the same to the bit.`}
	for _, v := range isas {
		softmaxRows(f, v, pageFloats)
	}
	softmaxRows(f, avx2, pageWords)
	softmaxRows(f, avx512, pageMerged)
	wordFactors(f)
	return f
}

// pagePoly is the polynomial of 2^f = 1 + f*P(f), |f| <= 1/2, fitted for least relative error: 9.4e-8.
var pagePoly = []float32{0.693147004, 0.240222454, 0.0555070639, 0.00967136025, 0.00132715411}

// pageKernel is a kernel over rows of scores. Vectors become exponentials in three registers each, from 0 on; behind those of a step are
// the ones that keep their values over all rows.
type pageKernel struct {
	kernel
	steps []int // scores of a step, the most first; a row is a multiple of the last
	base  int
}

// Registers that keep their values over all rows, from base on.
const (
	pageSum = iota // AVX2 has a second one, for every other vector: the lanes of both are those of AVX-512
	pageSum2
	pageOffset // less the reference of the row
	pagePolyAt // the polynomial from its third value on
	pageMagic  = pagePolyAt + iota
	pageLow
	pageLog2E
	pageOrder // of the halves of packed words; AVX-512
	pageByteOrder
	pageByte // what makes bytes of words
)

func (k pageKernel) kept(i int) string { return k.r(k.base + i) }

// row goes over a row of scores at SI: before each step AX is at its scores, and the vectors of the step are body's.
func (k pageKernel) row(body func(vectors int)) {
	k.load("n", "CX")
	k.op("MOVQ SI, AX")
	for _, s := range k.steps {
		k.loop("CX", s, func() {
			body(s / k.lanes())
			k.op("ADDQ $%d, AX", 4*s)
		})
	}
}

// What becomes of rows of exponentials.
type pageForm int

const (
	pageFloats pageForm = iota // they replace the scores; what is at top before is the least that a reference may be
	pageWords                  // words, times the factors of each of the blocks, for rows of words ldp apart; no reference is given
	pageMerged                 // words too, or bytes, and the pages before are told what has changed: see MergeWords
)

var pageForms = []struct{ name, params string }{
	pageFloats: {"softmaxFloats", "x *float32, ldx int, n int, rows int, top *float32, sum *float32"},
	pageWords:  {"softmaxWords", "p *int16, ldp int, x *float32, ldx int, factor *float32, step int, blocks int, n int, rows int, top *float32, sum *float32"},
	pageMerged: {"mergeWords", "p *int16, ldp int, x *float32, ldx int, factor *float32, step int, unit *float32, blocks int, n int, rows int, top *float32, sum *float32, fade *float32, scale *float32, lds int, enough float32, bytes *uint32, ask *byte, then *byte, half int, lines int"},
}

// softmaxRows writes the kernel for rows of n scores, a multiple of 16, ldx apart. A float32 at top becomes the reference of its row,
// the one at sum the sum. pageMerged does up to 16 rows.
func softmaxRows(f *file, v isa, form pageForm) {
	name, params := pageForms[form].name, pageForms[form].params
	k := pageKernel{kernel{f.newFn(name, "", params, ""), v}, []int{16}, 6}
	if form == pageFloats {
		k.fn.name += v.name
	}
	if v == avx512 {
		k.steps, k.base = []int{64, 16}, 12
	}
	k.load("ldx", "R15")
	if form != pageFloats {
		k.load("p", "DI")
		k.load("ldp", "R14")
		k.load("step", "R9")
		if v == avx512 {
			order := make([]uint32, 16)
			for i := range 8 {
				order[2*i] = uint32(i%4*2 + i/4)
			}
			f.datum("softmax_order", slices.Clone(order))
			k.op("VMOVDQU64 softmax_order<>(SB), %s", k.kept(pageOrder))
			for i := range order {
				order[i] = uint32(i%4*4 + i/4)
			}
			f.datum("softmax_bytes", order)
			k.op("VMOVDQU64 softmax_bytes<>(SB), %s", k.kept(pageByteOrder))
			const over = 1 << 15 / wordsPerByte // VPMULHRSW multiplies, shifts right by 15 and rounds
			k.words(over|over<<16, k.base+pageByte)
		}
	}
	k.set(math.Log2E, k.kept(pageLog2E))
	k.set(-127, k.kept(pageLow))
	k.set(magic, k.kept(pageMagic))
	for i, c := range pagePoly[1:] {
		k.set(c, k.kept(pagePolyAt+i))
	}
	// References first, those of all rows: beside exponentials a CPU would not look far enough ahead to find the next row's.
	rows := func(body func()) {
		k.load("x", "SI")
		if form == pageMerged {
			k.op("LEAQ 0(SP), BX")
			k.op("MOVL $1, AX")
			k.op("KMOVW AX, K1")
		} else {
			k.load("top", "BX")
		}
		k.load("rows", "R12")
		k.loop("R12", 1, func() {
			body()
			k.op("LEAQ (SI)(R15*4), SI")
			k.op("ADDQ $4, BX")
			if form == pageMerged {
				k.op("KSHIFTLW $1, K1, K1")
			}
		})
	}
	if form == pageMerged {
		k.frame = 64
		k.set(float32(math.Inf(-1)), k.r(mergeTop))
		k.op("VPXORD %s, %[1]s, %[1]s", k.r(mergeSum))
	}
	rows(func() {
		if form != pageFloats {
			k.set(float32(math.Inf(-1)), k.r(0))
		} else {
			k.op("VBROADCASTSS (BX), %s", k.r(0))
		}
		k.op("VMOVAPS %s, %s", k.r(0), k.r(1))
		k.row(func(vectors int) {
			for u := range vectors {
				k.op("VMAXPS %d(AX), %s, %[2]s", k.bytes*u, k.r(u%2))
			}
		})
		k.op("VMAXPS %s, %s, %[2]s", k.r(1), k.r(0))
		k.fold("VMAXPS", 0, 1)
		k.op("VMOVSS X0, (BX)")
		if form == pageMerged {
			k.op("VBROADCASTSS X0, K1, %s", k.r(mergeTop))
		}
	})
	if form == pageMerged {
		k.merge()
	} else {
		k.load("sum", "R13")
	}
	rows(func() {
		if form != pageFloats {
			k.op("MOVQ DI, R8")
			k.load("factor", "DX")
		}
		if form == pageMerged { // the second half of the rows asks elsewhere
			same := k.label("same")
			k.op("CMPQ R12, %s", k.arg("half"))
			k.op("JNE %s", same)
			k.load("then", "R10")
			k.op("MOVQ R10, %s", k.arg("ask"))
			k.at(same)
		}
		k.op("VBROADCASTSS (BX), %s", k.kept(pageOffset))
		k.opC("VMAXPS", -math.MaxFloat32, k.kept(pageOffset)+", "+k.kept(pageOffset)) // no score at all: exponentials of -Inf
		k.opC("VXORPS", bitsOf(signBit), k.kept(pageOffset)+", "+k.kept(pageOffset))
		sums := 2 * avx2.bytes / k.bytes
		for i := range sums {
			k.zero(k.base + pageSum + i)
		}
		exponentials := func(products func(vectors int)) {
			k.row(func(vectors int) {
				if form == pageMerged && vectors == 4 {
					k.load("ask", "R10")
					k.load("lines", "R11")
					k.loop("R11", 1, func() {
						k.op("PREFETCHT1 (R10)")
						k.op("ADDQ $64, R10")
					})
					k.op("MOVQ R10, %s", k.arg("ask"))
				}
				for u := range vectors {
					k.op("VADDPS %d(AX), %s, %s", k.bytes*u, k.kept(pageOffset), k.r(3*u))
				}
				k.pageExp(vectors)
				for u := range vectors {
					k.op("VADDPS %s, %s, %[2]s", k.r(3*u), k.kept(pageSum+u%sums))
				}
				products(vectors)
			})
		}
		switch form {
		case pageFloats:
			exponentials(func(vectors int) {
				for u := range vectors {
					k.op("VMOVUPS %s, %d(AX)", k.r(3*u), k.bytes*u)
				}
			})
		case pageWords:
			exponentials(func(vectors int) { k.products(vectors, false) })
		case pageMerged:
			bytes, done := k.label("bytes"), k.label("done")
			k.op("SHRL $1, R13")
			k.op("JCS %s", bytes)
			exponentials(func(vectors int) { k.products(vectors, false) })
			k.op("JMP %s", done)
			k.at(bytes)
			exponentials(func(vectors int) { k.products(vectors, true) })
			k.at(done)
		}
		sum := k.base + pageSum
		if v == avx2 {
			k.op("VADDPS %s, %s, %s", k.kept(pageSum2), k.kept(pageSum), k.r(0))
			sum = 0
		}
		k.fold("VADDPS", sum, 1)
		if form == pageMerged {
			k.op("VBROADCASTSS X%d, K1, %s", sum, k.r(mergeSum))
		} else {
			k.op("VMOVSS X%d, (R13)", sum)
			k.op("ADDQ $4, R13")
		}
		if form != pageFloats {
			k.op("LEAQ (DI)(R14*2), DI")
		}
	})
	if form == pageMerged {
		k.load("sum", "AX")
		k.op("VMULPS %s, %s, %s", k.r(mergeHere), k.r(mergeSum), k.r(0))
		k.op("VADDPS %s, %s, %[2]s", k.r(mergeBefore), k.r(0))
		k.op("VMOVUPS %s, (AX)", k.r(0))
	}
	k.ret()
}

// wordsPerByte: see byteWords in simd.
const wordsPerByte = 128

// Registers of pageMerged, in which a lane is a row.
const (
	mergeBefore = 27 // sums of the pages before, multiplied
	mergeTop    = 28 // references of the page
	mergeSum    = 29 // its sums
	mergeFade   = 30 // what is before it must be multiplied by
	mergeHere   = 31 // what is of it must be
)

// merge joins the references of the page with those before. Vectors are whole: memory that was stored under a mask, or in pieces, cannot be
// read at once. Lanes without a row have the reference -Inf, which changes nothing.
func (k pageKernel) merge() {
	r := k.r
	k.set(expLow, r(14)) // for exp
	k.load("top", "AX")
	k.op("VMOVUPS (AX), %s", r(0))
	k.op("VMAXPS %s, %s, %s", r(mergeTop), r(0), r(2)) // in this order NaN stays
	k.op("VMOVUPS %s, (AX)", r(2))
	k.op("VSUBPS %s, %s, %[2]s", r(2), r(0))
	k.op("VSUBPS %s, %s, %s", r(2), r(mergeTop), r(1))
	for i, to := range []int{mergeFade, mergeHere} {
		k.opC("VMAXPS", 2*expLow, r(i)+", "+r(i)) // NaN, the difference of nothing and nothing, becomes nothing
		k.exp(i, 3, 4, 5, false)
		k.op("VMOVAPS %s, %s", r(i), r(to))
	}
	k.load("fade", "AX")
	k.op("VMOVUPS %s, (AX)", r(mergeFade))
	// Bytes are enough where what is before is so much more than the page's largest.
	k.load("sum", "AX")
	k.op("VMULPS (AX), %s, %s", r(mergeFade), r(mergeBefore))
	k.op("VMULPS.BCST %s, %s, %s", k.arg("enough"), r(mergeHere), r(1))
	k.op("VCMPPS $13, %s, %s, K2", r(1), r(mergeBefore)) // not less
	k.op("KMOVW K2, R13")
	k.load("bytes", "AX")
	k.op("MOVL R13, (AX)")
	k.op("VMOVAPS %s, %s", r(mergeHere), r(1))
	k.opC("VMULPS", wordsPerByte, r(1)+", K2, "+r(1))
	k.load("scale", "AX")
	k.load("unit", "R8")
	k.load("lds", "DX")
	k.load("blocks", "CX")
	k.loop("CX", 1, func() {
		k.op("VMULPS.BCST (R8), %s, %s", r(1), r(0))
		k.op("VMOVUPS %s, (AX)", r(0))
		k.op("LEAQ (AX)(DX*4), AX")
		k.op("ADDQ $4, R8")
	})
}

// pageExp replaces the vectors of a step, in every third register from 0 on, none of whose values is positive, by their exponentials, side by side: 2^n * 2^f for
// y = n + f, n added to the exponent. From y = -127 down that is 0, since then f is 0; above it and below -126 it is a number of that magnitude.
func (k pageKernel) pageExp(vectors int) {
	r := k.r
	each := func(f func(x, t, p int)) {
		for u := range vectors {
			f(3*u, 3*u+1, 3*u+2)
		}
	}
	each(func(x, t, p int) { k.op("VMULPS %s, %s, %[2]s", k.kept(pageLog2E), r(x)) })
	each(func(x, t, p int) { k.op("VMAXPS %s, %s, %[1]s", r(x), k.kept(pageLow)) }) // in this order NaN goes through
	each(func(x, t, p int) { k.op("VADDPS %s, %s, %s", k.kept(pageMagic), r(x), r(t)) })
	each(func(x, t, p int) { k.op("VSUBPS %s, %s, %s", k.kept(pageMagic), r(t), r(p)) })
	each(func(x, t, p int) { k.op("VSUBPS %s, %s, %[2]s", r(p), r(x)) })
	each(func(x, t, p int) { k.op("VPSLLD $23, %s, %[1]s", r(t)) })
	last := len(pagePoly) - 1
	each(func(x, t, p int) { k.op("VMOVAPS %s, %s", k.kept(pagePolyAt+last-1), r(p)) })
	for i := last - 1; i > 0; i-- {
		each(func(x, t, p int) { k.op("VFMADD213PS %s, %s, %s", k.kept(pagePolyAt+i-1), r(x), r(p)) })
	}
	each(func(x, t, p int) { k.opC("VFMADD213PS", pagePoly[0], r(x)+", "+r(p)) })
	each(func(x, t, p int) { k.opC("VFMADD213PS", 1, r(x)+", "+r(p)) })
	each(func(x, t, p int) { k.op("VPADDD %s, %s, %s", r(t), r(p), r(x)) })
}

// products stores the words of the exponentials of some vectors, in registers 0, 3, ..., for each block: words at R8, factors at DX. Or it stores
// bytes, which are words over 128, rounded.
func (k pageKernel) products(vectors int, narrow bool) {
	bytes := 2 * k.lanes() * vectors // of words
	next := bytes
	if narrow {
		next /= 2
	}
	k.load("blocks", "R10")
	k.op("MOVQ DX, R11")
	k.op("MOVQ R8, R15")
	block := func() {
		for u := range vectors {
			k.op("VMULPS %d(R11), %s, %s", k.bytes*u, k.r(3*u), k.r(3*u+1))
			k.op("VCVTPS2DQ %s, %[1]s", k.r(3*u+1))
		}
		switch {
		case narrow:
			a, last := k.r(1), k.r(1+3*(vectors/2))
			for u := 0; u < vectors; u += 2 {
				x := k.r(3*u + 1)
				k.op("VPACKSSDW %s, %s, %[2]s", k.r(3*min(u+1, vectors-1)+1), x)
				k.op("VPMULHRSW %s, %s, %[2]s", k.kept(pageByte), x)
			}
			k.op("VPACKUSWB %s, %s, %[2]s", last, a)
			k.op("VPERMD %s, %s, %[1]s", a, k.kept(pageByteOrder))
			if vectors == 1 {
				k.op("VMOVDQU X1, (R15)")
			} else {
				k.op("VMOVDQU64 %s, (R15)", a)
			}
		case vectors == 1:
			k.op("VPMOVSDW %s, (R15)", k.r(1))
		case k.isa == avx2:
			k.packWords(1, 4)
			k.op("VMOVDQU Y1, (R15)")
		default:
			for u := 0; u < vectors; u += 2 {
				a := 3*u + 1
				k.op("VPACKSSDW %s, %s, %[2]s", k.r(a+3), k.r(a))
				k.op("VPERMQ %s, %s, %[1]s", k.r(a), k.kept(pageOrder))
				k.op("VMOVDQU64 %s, %d(R15)", k.r(a), k.bytes/2*u)
			}
		}
		k.op("LEAQ (R11)(R9*4), R11")
		k.op("LEAQ (R15)(R9*2), R15")
	}
	for _, unroll := range []int{2, 1} { // heads of 64 values have two
		k.loop("R10", unroll, func() {
			for range unroll {
				block()
			}
		})
	}
	k.load("ldx", "R15")
	k.op("ADDQ $%d, DX", 2*bytes)
	k.op("ADDQ $%d, R8", next)
}

// wordFactors writes the kernel for blocks of n scales, a multiple of 16, of which each page has so many, at some place, a multiple of 16 too, and those of the next
// block behind them. Factors, step apart, are the scales times word over the largest, whose quotient by word goes to unit, and at least tiny.
func wordFactors(f *file) {
	k := kernel{f.newFn("wordFactors", "", "factor *float32, unit *float32, step int, pages *[]byte, at int, per int, blocks int, n int, tiny float32, word float32", ""), avx2}
	k.load("factor", "DI")
	k.load("unit", "BX")
	k.load("at", "DX")
	k.load("step", "R9")
	k.load("per", "R10")
	k.load("blocks", "R12")
	k.loop("R12", 1, func() {
		k.broadcast("tiny", 0)
		k.op("VMOVAPS Y0, Y1")
		each := func(body func()) {
			page, short := k.label("page"), k.label("short")
			k.load("n", "R8")
			k.load("pages", "R11")
			k.op("XORQ AX, AX")
			k.at(page)
			k.op("MOVQ (R11), SI")
			k.op("ADDQ DX, SI")
			k.op("ADDQ $%d, R11", sliceSize)
			k.op("MOVQ R10, CX")
			k.op("CMPQ R8, CX")
			k.op("JGE %s", short)
			k.op("MOVQ R8, CX")
			k.at(short)
			k.op("SUBQ CX, R8")
			k.loop("CX", 16, func() {
				body()
				k.op("ADDQ $64, SI")
				k.op("ADDQ $64, AX")
			})
			k.op("CMPQ R8, $0")
			k.op("JNE %s", page)
		}
		each(func() {
			for h := range 2 {
				k.op("VMAXPS %d(SI), Y%d, Y%[2]d", 32*h, h)
			}
		})
		k.op("VMAXPS Y1, Y0, Y0")
		k.fold("VMAXPS", 0, 1)
		k.op("VMOVSS %s, X2", k.arg("word"))
		k.op("VDIVSS X2, X0, X1")
		k.op("VMOVSS X1, (BX)")
		k.op("VDIVSS X0, X2, X2")
		k.op("VBROADCASTSS X2, Y2")
		each(func() {
			for h := range 2 {
				k.op("VMULPS %d(SI), Y2, Y%d", 32*h, h)
				k.op("VMOVUPS Y%d, %d(DI)(AX*1)", h, 32*h)
			}
		})
		k.op("LEAQ (DI)(R9*4), DI")
		k.op("LEAQ (DX)(R10*4), DX")
		k.op("ADDQ $4, BX")
	})
	k.ret()
}
