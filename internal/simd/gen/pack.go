package gen

import "fmt"

// packKernels writes the copies that bring A and B into the order the register tiles read.
func packKernels(f *file) {
	packRows(f)
	packCols(f)
	for _, v := range isas {
		packNarrow(f, v)
	}
}

// packRows: a panel of B from k rows of at least 16 values.
func packRows(f *file) {
	g := f.newFn("packRows16", "packRows16 copies 16 values of each of k rows that lie stride bytes apart.",
		"dst *float32, src *float32, stride int, k int", "")
	g.load("dst", "DI")
	g.load("src", "SI")
	g.load("stride", "DX")
	g.load("k", "CX")
	for _, u := range []int{4, 1} {
		g.loop("CX", u, func() {
			for i := range u {
				g.op("VMOVUPS (SI), Y%d", 2*i)
				g.op("VMOVUPS 32(SI), Y%d", 2*i+1)
				g.op("ADDQ DX, SI")
			}
			for i := range 2 * u {
				g.op("VMOVUPS Y%d, %d(DI)", i, 32*i)
			}
			g.op("ADDQ $%d, DI", 64*u)
		})
	}
	g.ret()
}

// packCols: a panel of B from 16 stored rows, transposed 8 by 8.
func packCols(f *file) {
	g := f.newFn("packCols16", "packCols16 transposes 16 rows that lie stride bytes apart:\ndst[l*16+j] = src[j][l] for l < k, k a multiple of 8.",
		"dst *float32, src *float32, stride int, k int", "")
	g.load("dst", "DI")
	g.load("src", "SI")
	g.load("stride", "DX")
	g.load("k", "CX")
	g.op("LEAQ (DX)(DX*2), R8") // 3 strides
	g.op("LEAQ (SI)(DX*4), R9")
	g.op("LEAQ (SI)(DX*8), R10")
	g.op("LEAQ (R9)(DX*8), R11")
	g.loop("CX", 8, func() {
		transpose8(g, "SI", "R9", "DX", "R8", func(c int) string { return fmt.Sprintf("%d(DI)", 64*c) })
		transpose8(g, "R10", "R11", "DX", "R8", func(c int) string { return fmt.Sprintf("%d(DI)", 64*c+32) })
		for _, r := range []string{"SI", "R9", "R10", "R11"} {
			g.op("ADDQ $32, %s", r)
		}
		g.op("ADDQ $512, DI")
	})
	g.ret()
}

// transpose8 reads 8x8 values, rows 0-3 from base lo and rows 4-7 from base hi, and stores column c at dst(c). The halves
// of the rows are joined on the way in, which saves the shuffles across lanes.
func transpose8(g *fn, lo, hi, stride, stride3 string, dst func(c int) string) {
	for q := range 2 { // columns 4q to 4q+3
		row := func(base string, r int) string {
			return []string{
				fmt.Sprintf("%d(%s)", 16*q, base),
				fmt.Sprintf("%d(%s)(%s*1)", 16*q, base, stride),
				fmt.Sprintf("%d(%s)(%s*2)", 16*q, base, stride),
				fmt.Sprintf("%d(%s)(%s*1)", 16*q, base, stride3),
			}[r]
		}
		for r := range 4 {
			g.op("VMOVUPS %s, X%d", row(lo, r), r)
			g.op("VINSERTF128 $1, %s, Y%d, Y%[2]d", row(hi, r), r)
		}
		g.op("VUNPCKLPS Y1, Y0, Y4")
		g.op("VUNPCKHPS Y1, Y0, Y5")
		g.op("VUNPCKLPS Y3, Y2, Y6")
		g.op("VUNPCKHPS Y3, Y2, Y7")
		g.op("VSHUFPS $0x44, Y6, Y4, Y8")
		g.op("VSHUFPS $0xEE, Y6, Y4, Y9")
		g.op("VSHUFPS $0x44, Y7, Y5, Y10")
		g.op("VSHUFPS $0xEE, Y7, Y5, Y11")
		for c := range 4 {
			g.op("VMOVUPS Y%d, %s", 8+c, dst(4*q+c))
		}
	}
}

// packNarrow: a panel of a transposed A. The rows are 6 (or 12) values: a vector is stored for each and the next
// one overwrites what was too much, so dst has a vector of slack.
func packNarrow(f *file, v isa) {
	rows := gemmShapes(v)[0][0]
	g := f.newFn("packNarrow"+v.name, fmt.Sprintf("packNarrow%s copies n <= %d values, padded with zeros to %[2]d, of each of k rows that lie stride bytes apart.\ndst has room for a whole vector behind the last row.", v.name, rows),
		"dst *float32, src *float32, stride int, k int, n int", "")
	g.load("dst", "DI")
	g.load("src", "SI")
	g.load("stride", "DX")
	g.load("k", "CX")
	g.load("n", "AX")
	tailMask(g, v, "AX", 15)
	for _, u := range []int{4, 1} {
		g.loop("CX", u, func() {
			for i := range u {
				maskedLoad(g, v, "(SI)", v.r(i), 15)
				g.op("ADDQ DX, SI")
			}
			for i := range u {
				g.op("VMOVUPS %s, %d(DI)", v.r(i), 4*rows*i)
			}
			g.op("ADDQ $%d, DI", 4*rows*u)
		})
	}
	g.ret()
}

// tailMask makes the mask of the first n lanes, n in a register that is lost (as is R12): vector register m for AVX2, K1
// for AVX-512.
func tailMask(g *fn, v isa, n string, m int) {
	if v == avx512 {
		g.op("MOVL $0xffff, R12")
		g.op("BZHIL %s, R12, R12", n)
		g.op("KMOVW R12, K1")
		return
	}
	g.file.datum("tailMask", append(repeat(0xffffffff, 8), repeat(0, 8)...))
	g.op("NEGQ %s", n)
	g.op("LEAQ tailMask<>+32(SB), R12")
	g.op("VMOVUPS (R12)(%s*4), %s", n, v.r(m))
}

// maskedLoad loads the lanes of the tail mask, zeros elsewhere; nothing outside the mask is touched.
func maskedLoad(g *fn, v isa, from, to string, m int) {
	if v == avx512 {
		g.op("VMOVUPS.Z %s, K1, %s", from, to)
		return
	}
	g.op("VMASKMOVPS %s, %s, %s", from, v.r(m), to)
}

// maskedStore stores the lanes of the tail mask alone.
func maskedStore(g *fn, v isa, from, to string, m int) {
	if v == avx512 {
		g.op("VMOVUPS %s, K1, %s", from, to)
		return
	}
	g.op("VMASKMOVPS %s, %s, %s", from, v.r(m), to)
}

func repeat(w uint32, n int) []uint32 {
	s := make([]uint32, n)
	for i := range s {
		s[i] = w
	}
	return s
}
