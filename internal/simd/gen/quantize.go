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
