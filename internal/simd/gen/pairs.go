package gen

import "fmt"

// Products of words (16 bits) with bytes, for a cache of bytes. Bytes lie in panels of 16 lanes, two of a lane's side by side, so
// that VPMADDWD adds the two products of a lane. Its sums are exact; one kernel does for both widths.
//
// A word stands for a query's value or for a key's weight, and both keep 15 bits of it. Bytes would keep 7 or 8, and gain little here: without
// saturation VPMADDUBSW takes four instructions for 32 products, where these take five and a half. AVX-512 has kernels for both (pairs_wide.go).
func pairsFile() *file {
	f := &file{name: "pairs", about: `
Products of rows of words with panels of bytes: see pairs.go.`}
	for _, rows := range []int{4, 2, 1} {
		mulPairs(f, rows)
	}
	ask := f.newFn("prefetchLines", "prefetchLines asks for n lines of 64 bytes, to be read soon.", "p *byte, n int", "")
	ask.load("p", "SI")
	ask.load("n", "CX")
	ask.loop("CX", 1, func() {
		ask.op("PREFETCHT0 (SI)")
		ask.op("ADDQ $64, SI")
	})
	ask.ret()
	g := f.newFn("scaleWords", "scaleWords sets p to x*w, rounded to nearest even and held within 16 bits, for n blocks of 16.", "p *int16, x *float32, w *float32, n int", "")
	g.load("p", "DI")
	g.load("x", "SI")
	g.load("w", "DX")
	g.load("n", "CX")
	g.loop("CX", 1, func() {
		for i := range 2 {
			g.op("VMOVUPS %d(SI), Y%d", 32*i, i)
			g.op("VMULPS %d(DX), Y%d, Y%[2]d", 32*i, i)
			g.op("VCVTPS2DQ Y%d, Y%[1]d", i)
		}
		g.packWords(0, 1)
		g.op("VMOVDQU Y0, (DI)")
		g.op("ADDQ $64, SI")
		g.op("ADDQ $64, DX")
		g.op("ADDQ $32, DI")
	})
	g.ret()
	return f
}

// mulPairsParams: see MulPairs; next is where what b holds will be asked for at the same place.
const mulPairsParams = "c *float32, ldc int, a *int16, lda int, b *int8, step int, d *float32, stepD int, s *float32, lds int, pairs int, panels int, groups int, fresh int, next *int8"

// mulPairs writes the kernel for groups of rows and some panels. Registers: 0 to 7 the sums, 8 and 9 a panel's pair as words, 10
// to 13 scratch, 14 and 15 the scales of the lanes. Eight pairs go without a branch, since what a group of rows costs beside
// its products is paid for each 16 or 32 of them.
func mulPairs(f *file, rows int) {
	g := f.newFn(fmt.Sprintf("mulPairs%d", rows), "", mulPairsParams, "")
	const c, ldc, a, lda, b, s, lds, n, d, ahead, panels = "DI", "R8", "SI", "R9", "BX", "DX", "R10", "CX", "AX", "R15", "R13"
	row := func(base, step string, i int) string {
		if i == 3 {
			return "(R14)"
		}
		return third(base, step, i, 0)
	}
	g.load("ldc", ldc)
	g.load("lda", lda)
	g.load("lds", lds)
	g.load("d", d)
	g.load("next", ahead)
	g.op("SUBQ %s, %s", g.arg("b"), ahead)
	g.op("SHLQ $2, %s", ldc)
	g.op("SHLQ $1, %s", lda)
	g.op("SHLQ $2, %s", lds)
	last := func(base, step string) { // of four rows
		if rows == 4 {
			g.op("LEAQ (%s)(%s*2), R14", base, step)
			g.op("ADDQ %s, R14", step)
		}
	}
	next := func(base, step string) {
		for range rows {
			g.op("ADDQ %s, %s", step, base)
		}
	}
	g.load("panels", panels)
	g.loop(panels, 1, func() {
		g.load("c", c)
		g.load("a", a)
		g.load("s", s)
		g.load("groups", "R12")
		g.op("VMOVUPS (%s), Y14", d)
		g.op("VMOVUPS 32(%s), Y15", d)
		g.loop("R12", 1, func() {
			g.load("b", b)
			g.load("pairs", n)
			g.op("MOVQ %s, R11", a)
			last("R11", lda)
			for i := range 2 * rows {
				g.op("VPXOR X%d, X%[1]d, X%[1]d", i)
			}
			for _, unroll := range []int{8, 1} {
				g.loop(n, unroll, func() {
					for u := range unroll {
						if u%2 == 0 {
							g.op("PREFETCHT0 %d(%s)(%s*1)", 32*u, b, ahead)
						}
						for h := range 2 {
							g.op("VPMOVSXBW %d(%s), Y%d", 32*u+16*h, b, 8+h)
						}
						for i := range rows {
							at := third("R11", lda, i, 4*u)
							if i == 3 {
								at = third("R14", "", 0, 4*u)
							}
							g.op("VPBROADCASTD %s, Y%d", at, 10+i%2)
							for h := range 2 {
								g.op("VPMADDWD Y%d, Y%d, Y%d", 8+h, 10+i%2, 12+h)
								g.op("VPADDD Y%d, Y%d, Y%[2]d", 12+h, 2*i+h)
							}
						}
					}
					g.op("ADDQ $%d, R11", 4*unroll)
					if rows == 4 {
						g.op("ADDQ $%d, R14", 4*unroll)
					}
					g.op("ADDQ $%d, %s", 32*unroll, b)
				})
			}
			for i := range 2 * rows {
				g.op("VCVTDQ2PS Y%d, Y%[1]d", i)
				g.op("VMULPS Y%d, Y%d, Y%[2]d", 14+i%2, i)
			}
			last(s, lds)
			for i := range rows {
				g.op("VBROADCASTSS %s, Y%d", row(s, lds, i), 8+i)
			}
			last(c, ldc)
			set, stored := g.label("set"), g.label("stored")
			g.op("CMPQ %s, $0", g.arg("fresh"))
			g.op("JNE %s", set)
			for i := range 2 * rows {
				at := row(c, ldc, i/2)
				g.op("VFMADD213PS %s, Y%d, Y%d", fmt.Sprintf("%d%s", 32*(i%2), at), 8+i/2, i)
				g.op("VMOVUPS Y%d, %d%s", i, 32*(i%2), at)
			}
			g.op("JMP %s", stored)
			g.at(set)
			for i := range 2 * rows {
				g.op("VMULPS Y%d, Y%d, Y%[2]d", 8+i/2, i)
				g.op("VMOVUPS Y%d, %d%s", i, 32*(i%2), row(c, ldc, i/2))
			}
			g.at(stored)
			next(c, ldc)
			next(a, lda)
			next(s, lds)
		})
		g.op("ADDQ $64, %s", g.arg("c"))
		g.load("step", "R11")
		g.op("ADDQ R11, %s", g.arg("b"))
		g.load("stepD", "R11")
		g.op("LEAQ (%s)(R11*4), %[1]s", d)
	})
	g.ret()
}
