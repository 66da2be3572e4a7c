package gen

import (
	"fmt"
	"strings"
)

// gemmShapes lists (rows, panels) of the register tiles. A panel is 16 columns of B: two ymm or one zmm. The tile with
// most rows comes first; few rows take several panels, so that enough sums are on their way to hide the latency of
// FMA and, for one row, several streams of B are read at once.
func gemmShapes(v isa) [][2]int {
	var s [][2]int
	if v == avx2 {
		for r := 6; r >= 1; r-- {
			s = append(s, [2]int{r, 1})
		}
		return append(s, [2]int{3, 2}, [2]int{2, 3}, [2]int{1, 4})
	}
	for r := 12; r >= 1; r-- {
		s = append(s, [2]int{r, 1}, [2]int{r, 2})
	}
	return append(s, [2]int{1, 4}, [2]int{2, 4}, [2]int{3, 4}, [2]int{4, 4})
}

func gemmFile() *file {
	f := &file{name: "gemm", about: `
Register tiles of the float32 matrix product: C[rows, 16*panels] (+)= A[rows, k] * B[k, 16*panels].
Each element of C is one chain of fused multiply-adds in the order of k, so every shape gives the same bits.
Row i, step l of A is at a + i*ars + l*acs (bytes), so A may be packed, plain or transposed.
Panel j of B is at b + j*bps and its steps are bst apart (bytes), so B may be packed (bst 64) or plain rows (bps 64).
init 0 starts from zero, else from C.`}
	for _, v := range isas {
		for _, s := range gemmShapes(v) {
			gemmTile(f, v, s[0], s[1])
		}
	}
	packKernels(f)
	f.table = gemmTable()
	return f
}

// gemmTable writes the Go function that picks a shape.
func gemmTable() string {
	var b strings.Builder
	fmt.Fprintf(&b, "// gemmTile runs the register tile of that shape.\n")
	fmt.Fprintf(&b, "func gemmTile(rows, panels int, c *float32, ldc int, a *float32, ars, acs int, b *float32, bps, bst, k, init int) {\n\tswitch int(impl)<<8 | rows<<4 | panels {\n")
	for _, v := range isas {
		for _, s := range gemmShapes(v) {
			fmt.Fprintf(&b, "\tcase int(%s)<<8 | %d<<4 | %d:\n\t\t%s(c, ldc, a, ars, acs, b, bps, bst, k, init)\n", strings.ToLower(v.name), s[0], s[1], gemmName(v, s[0], s[1]))
		}
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	return b.String()
}

func gemmName(v isa, rows, panels int) string {
	return fmt.Sprintf("gemm%dx%d%s", rows, panels, v.name)
}

// gemmTile writes one tile. Registers: the sums, then what is read: either the panels' vectors of a step are held and A's
// values broadcast one after the other, or, for few rows, A's values are held and B's vectors pass through.
func gemmTile(f *file, v isa, rows, panels int) {
	g := f.newFn(gemmName(v, rows, panels), "", gemmParams, "")
	gemmOne(g, v, rows, panels)
	g.ret()
}

const gemmParams = "c *float32, ldc int, a *float32, ars int, acs int, b *float32, bps int, bst int, k int, init int"

// gemmStripFile is AVX2's largest tile below itself, for products so short that a call for each tile shows.
func gemmStripFile() *file {
	f := &file{name: "gemmstrip", about: `
The register tile of 6 rows and 16 columns for many tiles, one below the other: see gemm_amd64.s. Those of A are strip bytes apart.`}
	g := f.newFn("gemmStrip", "gemmStrip runs tiles of 6 rows that lie one below the other in C, and in A strip bytes apart.", gemmParams+", strip int, tiles int", "")
	g.load("tiles", "R12")
	g.loop("R12", 1, func() {
		gemmOne(g, avx2, 6, 1)
		g.op("ADDQ R15, R13") // behind the last row
		g.op("MOVQ R13, %s", g.arg("c"))
		g.load("strip", "R11")
		g.op("ADDQ R11, %s", g.arg("a"))
	})
	g.ret()
	return f
}

// gemmOne writes the work of one tile; it leaves R13 at the last row of C, R15 the bytes from one to the next, and R12 and R14 as they
// are where there is one panel.
func gemmOne(g *fn, v isa, rows, panels int) {
	vecs := panels * 64 / v.bytes // vectors of a row of the tile
	acc := func(i, j int) string { return v.r(i*vecs + j) }
	free := rows * vecs
	aBase := []string{"AX", "R8", "R9", "R10"}
	bBase := []string{"BX", "R11", "R12"}
	const ars, acs, bps, bst, k = "SI", "DX", "DI", "R15", "CX"
	g.load("a", "AX")
	g.load("ars", ars)
	g.load("acs", acs)
	g.load("b", "BX")
	g.load("bps", bps)
	g.load("k", k)
	g.rowBases(aBase[:(rows+2)/3], ars) // rows 3i, 3i+1, 3i+2 hang on base i
	g.rowBases(bBase[:(panels+2)/3], bps)
	aAddr := func(i int) string { return third(aBase[i/3], ars, i%3, 0) }
	bAddr := func(j int) string {
		per := 64 / v.bytes
		return third(bBase[j/per/3], bps, j/per%3, j%per*v.bytes)
	}
	gemmC(g, v, rows, vecs, acc, true)
	g.load("bst", bst)
	step := func() {
		if rows <= 3 && panels > 1 || rows == 1 { // hold A
			for i := range rows {
				g.op("VBROADCASTSS %s, %s", aAddr(i), v.r(free+i))
			}
			for j := range vecs {
				if rows == 1 {
					g.op("VFMADD231PS %s, %s, %s", bAddr(j), v.r(free), acc(0, j))
					continue
				}
				t := v.r(free + rows + j%max(1, min(2, v.regs-free-rows)))
				g.op("VMOVUPS %s, %s", bAddr(j), t)
				for i := range rows {
					g.op("VFMADD231PS %s, %s, %s", t, v.r(free+i), acc(i, j))
				}
			}
		} else { // hold B
			for j := range vecs {
				g.op("VMOVUPS %s, %s", bAddr(j), v.r(free+j))
			}
			for i := range rows {
				if vecs == 1 {
					g.op("VFMADD231PS.BCST %s, %s, %s", aAddr(i), v.r(free), acc(i, 0))
					continue
				}
				t := v.r(free + vecs + i%min(4, v.regs-free-vecs))
				g.op("VBROADCASTSS %s, %s", aAddr(i), t)
				for j := range vecs {
					g.op("VFMADD231PS %s, %s, %s", v.r(free+j), t, acc(i, j))
				}
			}
		}
		for i := 0; i*3 < rows; i++ {
			g.op("ADDQ %s, %s", acs, aBase[i])
		}
		for j := 0; j*3 < panels; j++ {
			g.op("ADDQ %s, %s", bst, bBase[j])
		}
	}
	for _, unroll := range []int{2, 1} {
		g.loop(k, unroll, func() {
			for range unroll {
				step()
			}
		})
	}
	gemmC(g, v, rows, vecs, acc, false)
}

// third is the operand base + index*n + disp for n = 0, 1, 2.
func third(base, index string, n, disp int) string {
	d := ""
	if disp != 0 {
		d = fmt.Sprint(disp)
	}
	if n == 0 {
		return fmt.Sprintf("%s(%s)", d, base)
	}
	return fmt.Sprintf("%s(%s)(%s*%d)", d, base, index, n)
}

// gemmC loads the sums from C, or zeroes them, or stores them.
func gemmC(g *fn, v isa, rows, vecs int, acc func(i, j int) string, load bool) {
	const c, ldc = "R13", "R15"
	g.load("c", c)
	g.load("ldc", ldc)
	g.op("SHLQ $2, %s", ldc)
	if load { // and fetch the tile below, which is likely next
		zero, ready := g.label("zero"), g.label("ready")
		g.op("CMPQ %s, $0", g.arg("init"))
		g.op("JEQ %s", zero)
		for i := range rows {
			for j := range vecs {
				g.op("VMOVUPS %s, %s", third(c, "", 0, j*v.bytes), acc(i, j))
			}
			g.op("ADDQ %s, %s", ldc, c)
		}
		for range rows {
			for j := range vecs * v.bytes / 64 {
				g.op("PREFETCHT0 %s", third(c, "", 0, j*64))
			}
			g.op("ADDQ %s, %s", ldc, c)
		}
		g.op("JMP %s", ready)
		g.at(zero)
		for range rows {
			for j := range vecs * v.bytes / 64 {
				g.op("PREFETCHT0 %s", third(c, "", 0, j*64))
			}
			g.op("ADDQ %s, %s", ldc, c)
		}
		for i := range rows {
			for j := range vecs {
				g.op("VXORPS X%d, X%[1]d, X%[1]d", i*vecs+j)
			}
		}
		g.at(ready)
		return
	}
	for i := range rows {
		for j := range vecs {
			g.op("VMOVUPS %s, %s", acc(i, j), third(c, "", 0, j*v.bytes))
		}
		if i+1 < rows {
			g.op("ADDQ %s, %s", ldc, c)
		}
	}
}
