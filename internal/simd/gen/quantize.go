package gen

// quantizeActs: a row of activations in blocks of 32: bytes q = round(x * 127/top), top the largest magnitude, and
// float32 d = top/127. One kernel does for both widths.
//
// The largest magnitude is sought among the bits as integers, where Inf and NaN come out above all numbers and make d
// what they are. A block below 2^-100 counts as zero, so that 127/top is finite.
func quantizeActs(f *file) {
	g := f.newFn("quantizeBlocks", `quantizeBlocks quantizes blocks of 32 values: codes to q, scales to d, and to sums the
integer sums of the two halves of each block.`, "q *int8, d *float32, sums *int32, x *float32, blocks int", "")
	g.load("q", "DI")
	g.load("d", "DX")
	g.load("sums", "BX")
	g.load("x", "SI")
	g.load("blocks", "CX")
	bcast := func(w uint32, reg int) { g.op("VPBROADCASTD %s, Y%d", f.const32(w), reg) }
	bcast(0x7fffffff, 15)
	bcast(0x01010101, 14)
	bcast(0x00010001, 13)
	f.datum("scalesOrder", []uint32{0, 4, 1, 5, 2, 6, 3, 7})
	g.op("VMOVDQU scalesOrder<>(SB), Y12")
	g.op("VMOVSS %s, X11", f.const32(0x42fe0000)) // 127
	g.op("VMOVSS %s, X10", f.const32(0x0d800000)) // 2^-100
	g.loop("CX", 1, func() {
		for i := range 4 {
			g.op("VMOVUPS %d(SI), Y%d", 32*i, i)
		}
		g.op("VPAND Y15, Y0, Y4")
		for i := 1; i < 4; i++ {
			g.op("VPAND Y15, Y%d, Y5", i)
			g.op("VPMAXSD Y5, Y4, Y4")
		}
		g.op("VEXTRACTI128 $1, Y4, X5")
		g.op("VPMAXSD X5, X4, X4")
		g.op("VPSHUFD $0x4E, X4, X5")
		g.op("VPMAXSD X5, X4, X4")
		g.op("VPSHUFD $0xB1, X4, X5")
		g.op("VPMAXSD X5, X4, X4")
		g.op("VPCMPGTD X4, X10, X5") // all ones where the block is as good as zero
		g.op("VDIVSS X11, X4, X6")   // top/127
		g.op("VDIVSS X4, X11, X7")   // 127/top
		g.op("VPANDN X6, X5, X6")
		g.op("VPANDN X7, X5, X7")
		g.op("VMOVSS X6, (DX)")
		g.op("VBROADCASTSS X7, Y7")
		for i := range 4 {
			g.op("VMULPS Y7, Y%d, Y%[1]d", i)
			g.op("VCVTPS2DQ Y%d, Y%[1]d", i) // to nearest even
		}
		g.op("VPACKSSDW Y1, Y0, Y0")
		g.op("VPACKSSDW Y3, Y2, Y2")
		g.op("VPACKSSWB Y2, Y0, Y0")
		g.op("VPERMD Y0, Y12, Y0") // packing works within lanes of 128 bits: put groups of 4 in order
		g.op("VMOVDQU Y0, (DI)")
		g.op("VPMADDUBSW Y0, Y14, Y1")
		g.op("VPMADDWD Y13, Y1, Y1") // sums of 4
		g.op("VPHADDD Y1, Y1, Y1")
		g.op("VPHADDD Y1, Y1, Y1")
		g.op("VMOVD X1, (BX)")
		g.op("VEXTRACTI128 $1, Y1, X1")
		g.op("VMOVD X1, 4(BX)")
		g.op("ADDQ $128, SI")
		g.op("ADDQ $32, DI")
		g.op("ADDQ $4, DX")
		g.op("ADDQ $8, BX")
	})
	g.ret()
}

// actsFile is what goes along with quantized rows of activations.
func actsFile() *file {
	f := &file{name: "acts", about: `
The numbers of a row of activations, see fillMeta in acts.go.`}
	metaBlocks(f)
	return f
}

// metaBlocks: the arrays of meta are n, or for halves 2n values apart. DI is at the scales, and R8 leads on to the sums, times the scale and
// times minus 8; BX is at minus 16 and, R8 further, 128, R10, R11 and R12 at the numbers of halves.
func metaBlocks(f *file) {
	g := f.newFn("metaBlocks", "metaBlocks is fillMeta of blocks, a multiple of 8, of the n of a row alone.", "meta *float32, n int, d *float32, sums *int32, blocks int", "")
	g.load("meta", "DI")
	g.load("n", "R8")
	g.load("d", "SI")
	g.load("sums", "DX")
	g.load("blocks", "CX")
	g.op("SHLQ $2, R8")
	g.op("LEAQ (DI)(R8*2), BX")
	g.op("ADDQ R8, BX")
	g.op("LEAQ (BX)(R8*2), R10")
	g.op("LEAQ (R10)(R8*2), R11")
	g.op("LEAQ (R11)(R8*2), R12")
	f.datum("metaTwice", []uint32{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7})
	g.op("VMOVDQU metaTwice<>(SB), Y14")
	g.op("VMOVDQU metaTwice<>+32(SB), Y13")
	g.op("VPXOR Y15, Y15, Y15")
	times := func(shift, from int, to string) { // minus a power of two
		g.op("VPSLLD $%d, Y%d, Y3", shift, from)
		g.op("VPSUBD Y3, Y15, Y3")
		g.op("VMOVDQU Y3, %s", to)
	}
	g.loop("CX", 8, func() {
		g.op("VMOVUPS (SI), Y2")
		g.op("VMOVUPS Y2, (DI)")
		for i := range 2 {
			g.op("VMOVDQU %d(DX), Y%d", 32*i, i)
			times(2, i, third("R11", "", 0, 32*i))
			times(5, i, third("R12", "", 0, 32*i))
			g.op("VPERMPS Y2, Y%d, Y4", 14-i)
			g.op("VCVTDQ2PS Y%d, Y3", i)
			g.op("VMULPS Y4, Y3, Y3")
			g.op("VMOVUPS Y3, %d(R10)", 32*i)
		}
		g.op("VPHADDD Y1, Y0, Y0")
		g.op("VPERMQ $0xD8, Y0, Y0")
		g.op("VCVTDQ2PS Y0, Y3")
		g.op("VMULPS Y2, Y3, Y3")
		g.op("VMOVUPS Y3, (DI)(R8*1)")
		times(3, 0, "(DI)(R8*2)")
		times(4, 0, "(BX)")
		times(7, 0, "(BX)(R8*1)")
		for _, r := range []string{"SI", "DI", "BX"} {
			g.op("ADDQ $32, %s", r)
		}
		for _, r := range []string{"DX", "R10", "R11", "R12"} {
			g.op("ADDQ $64, %s", r)
		}
	})
	g.ret()
}
