package gen

// convertFile: conversions between float32 and the 16-bit formats. n is a multiple of 16; ymm registers do, because memory
// is the limit.
func convertFile() *file {
	f := &file{name: "convert", about: `
float32 from and to 16-bit numbers, little-endian, 16 at a time (the caller does the rest).`}
	begin := func(name, doc, params string) *fn {
		g := f.newFn(name, name+" "+doc, params, "")
		g.load("dst", "DI")
		g.load("src", "SI")
		g.load("n", "CX")
		return g
	}

	g := begin("f16ToF32", "widens n half-precision numbers.", "dst *float32, src *byte, n int")
	g.loop("CX", 16, func() {
		for i := range 2 {
			g.op("VCVTPH2PS %d(SI), Y%d", 16*i, i)
			g.op("VMOVUPS Y%d, %d(DI)", i, 32*i)
		}
		g.op("ADDQ $32, SI")
		g.op("ADDQ $64, DI")
	})
	g.ret()

	g = begin("f32ToF16", "rounds n numbers to half precision, to nearest even.", "dst *byte, src *float32, n int")
	g.loop("CX", 16, func() {
		for i := range 2 {
			g.op("VMOVUPS %d(SI), Y%d", 32*i, i)
			g.op("VCVTPS2PH $0, Y%d, %d(DI)", i, 16*i)
		}
		g.op("ADDQ $64, SI")
		g.op("ADDQ $32, DI")
	})
	g.ret()

	g = begin("bf16ToF32", "widens n bfloat16 numbers.", "dst *float32, src *byte, n int")
	g.loop("CX", 16, func() {
		for i := range 2 {
			g.op("VPMOVZXWD %d(SI), Y%d", 16*i, i)
			g.op("VPSLLD $16, Y%d, Y%[1]d", i)
			g.op("VMOVUPS Y%d, %d(DI)", i, 32*i)
		}
		g.op("ADDQ $32, SI")
		g.op("ADDQ $64, DI")
	})
	g.ret()

	// To nearest even: add 0x7fff and the lowest bit that stays. A NaN would carry into Inf, so it gets its quiet bit
	// instead.
	g = begin("f32ToBF16", "rounds n numbers to bfloat16, to nearest even.", "dst *byte, src *float32, n int")
	for i, w := range []uint32{0x7fff, 1, 0x400000} {
		f.datum(g.name+string(rune('A'+i)), repeat(w, 8))
		g.op("VMOVDQU %s%c<>(SB), Y%d", g.name, 'A'+i, 13+i)
	}
	g.loop("CX", 16, func() {
		for i := range 2 {
			x, t, m := i, 2+i, 4+i
			g.op("VMOVUPS %d(SI), Y%d", 32*i, x)
			g.op("VCMPPS $3, Y%d, Y%[1]d, Y%[2]d", x, m) // NaN
			g.op("VPSRLD $16, Y%d, Y%d", x, t)
			g.op("VPAND Y14, Y%d, Y%[1]d", t)
			g.op("VPADDD Y13, Y%d, Y%[1]d", t)
			g.op("VPADDD Y%d, Y%d, Y%[2]d", x, t)
			g.op("VPOR Y15, Y%d, Y%[1]d", x)
			g.op("VBLENDVPS Y%d, Y%d, Y%d, Y%[3]d", m, x, t)
			g.op("VPSRLD $16, Y%d, Y%[1]d", t)
		}
		g.op("VPACKUSDW Y3, Y2, Y2")
		g.op("VPERMQ $0xD8, Y2, Y2")
		g.op("VMOVDQU Y2, (DI)")
		g.op("ADDQ $64, SI")
		g.op("ADDQ $32, DI")
	})
	g.ret()

	for _, move := range []struct{ name, doc, params string }{
		{"loadF32", "copies n float32 from bytes.", "dst *float32, src *byte, n int"},
		{"storeF32", "copies n float32 to bytes.", "dst *byte, src *float32, n int"},
	} {
		g = begin(move.name, move.doc, move.params)
		g.loop("CX", 16, func() {
			g.op("VMOVDQU (SI), Y0")
			g.op("VMOVDQU 32(SI), Y1")
			g.op("VMOVDQU Y0, (DI)")
			g.op("VMOVDQU Y1, 32(DI)")
			g.op("ADDQ $64, SI")
			g.op("ADDQ $64, DI")
		})
		g.ret()
	}
	return f
}
