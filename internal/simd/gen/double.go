package gen

// doubleFile is the register tile of float64 products, for factorisations. AVX-512 uses the narrow one too: what is
// factorised is a small part of the work.
func doubleFile() *file {
	f := &file{name: "double", about: `
The register tile of the float64 matrix product: C[6, 8] -= A[k, 6]ᵀ * B[k, 8], both operands packed.`}
	g := f.newFn("doubleTile6x8", "doubleTile6x8 subtracts the product of two packed strips of k steps from rows of C that lie ldc bytes apart.",
		"c *float64, ldc int, a *float64, b *float64, k int", "")
	g.load("c", "DI")
	g.load("ldc", "DX")
	g.load("a", "SI")
	g.load("b", "BX")
	g.load("k", "CX")
	g.op("LEAQ (DX)(DX*2), R8")
	g.op("LEAQ (DI)(DX*4), R9")
	for _, at := range []string{"(DI)", "(DI)(DX*1)", "(DI)(DX*2)", "(DI)(R8*1)", "(R9)", "(R9)(DX*1)"} {
		g.op("PREFETCHT0 %s", at) // C comes from memory, and its rows are far apart
	}
	for i := range 12 {
		g.op("VXORPD X%d, X%[1]d, X%[1]d", i)
	}
	step := func(u int) {
		g.op("VMOVUPD %d(BX), Y12", 64*u)
		g.op("VMOVUPD %d(BX), Y13", 64*u+32)
		for i := range 6 {
			t := 14 + i%2
			g.op("VBROADCASTSD %d(SI), Y%d", 48*u+8*i, t)
			g.op("VFMADD231PD Y12, Y%d, Y%d", t, 2*i)
			g.op("VFMADD231PD Y13, Y%d, Y%d", t, 2*i+1)
		}
	}
	for _, unroll := range []int{4, 1} {
		g.loop("CX", unroll, func() {
			for u := range unroll {
				step(u)
			}
			g.op("ADDQ $%d, SI", 48*unroll)
			g.op("ADDQ $%d, BX", 64*unroll)
		})
	}
	for i := range 6 {
		for j := range 2 {
			g.op("VMOVUPD %d(DI), Y12", 32*j)
			g.op("VSUBPD Y%d, Y12, Y12", 2*i+j)
			g.op("VMOVUPD Y12, %d(DI)", 32*j)
		}
		g.op("ADDQ DX, DI")
	}
	g.ret()
	return f
}
