package gen

// codesKernel: codes of a group whose parameters are fixed.
func codesKernel(f *file, name, doc string, div bool) {
	k := encoder{f.newFn(name, name+" "+doc+" n is a multiple of 16.", "l *uint8, x *float32, n int, lo int, hi int, inverse float32, least float32", "")}
	k.load("l", "DI")
	k.load("x", "SI")
	k.load("n", "CX")
	k.load("lo", "R10")
	k.load("hi", "R11")
	k.rounding()
	k.op("VMOVQ R11, X%d", regHi)
	k.op("VPBROADCASTD X%d, Y%[1]d", regHi)
	k.op("VMOVQ R10, X%d", regLo)
	k.op("VPBROADCASTD X%d, Y%[1]d", regLo)
	k.op("VBROADCASTSS %s, Y8", k.arg("inverse"))
	k.op("VBROADCASTSS %s, Y9", k.arg("least"))
	k.loop("CX", 16, func() {
		for i := range 2 {
			k.op("VMOVUPS %d(SI), Y%d", 32*i, i)
			if div {
				k.op("VADDPS Y9, Y%d, Y%[1]d", i)
				k.op("VDIVPS Y8, Y%d, Y%[1]d", i)
			} else {
				k.op("VSUBPS Y9, Y%d, Y%[1]d", i)
				k.op("VMULPS Y8, Y%d, Y%[1]d", i)
			}
			k.nearest(i)
			k.op("VPSUBD Y%d, Y%d, Y%[2]d", regLo, i)
		}
		k.packBytes()
		k.op("ADDQ $64, SI")
		k.op("ADDQ $16, DI")
	})
	k.ret()
}

// packBytes stores the 16 codes in Y0 and Y1.
func (k encoder) packBytes() {
	k.packWords(0, 1)
	k.op("VEXTRACTI128 $1, Y0, X1")
	k.op("VPACKUSWB X1, X0, X0")
	k.op("VMOVDQU X0, (DI)")
}

// encodeQ8: blocks of 32 bytes with a half scale. Rounding is away from zero in the middle: what is cut off tells.
func encodeQ8(f *file) {
	k := encoder{f.newFn("encodeQ8_0", "encodeQ8_0 is EncodeQ8_0.", "dst *byte, src *float32, blocks int", "")}
	k.load("dst", "DI")
	k.load("src", "SI")
	k.load("blocks", "CX")
	k.word(0x7fffffff, 15)
	k.word(0x3f800000, 14) // 1
	k.word(0x3f000000, 13) // 1/2
	k.word(0xff, 12)
	f.datum("encodeOrder", []uint32{0, 4, 1, 5, 2, 6, 3, 7})
	k.op("VMOVDQU encodeOrder<>(SB), Y11")
	k.op("VMOVSS %s, X10", f.const32(0x42fe0000)) // 127
	k.loop("CX", 1, func() {
		for i := range 4 {
			k.op("VMOVUPS %d(SI), Y%d", 32*i, i)
		}
		k.op("VPAND Y15, Y0, Y4")
		for i := 1; i < 4; i++ {
			k.op("VPAND Y15, Y%d, Y5", i)
			k.op("VPMAXUD Y5, Y4, Y4")
		}
		k.op("VEXTRACTI128 $1, Y4, X5")
		k.op("VPMAXUD X5, X4, X4")
		k.op("VPSHUFD $0x4E, X4, X5")
		k.op("VPMAXUD X5, X4, X4")
		k.op("VPSHUFD $0xB1, X4, X5")
		k.op("VPMAXUD X5, X4, X4")
		k.op("VDIVSS X10, X4, X4") // d
		k.op("VXORPS X6, X6, X6")
		k.op("VCMPSS $0x04, X6, X4, X6") // d != 0
		k.op("VDIVSS X4, X14, X5")
		k.op("VANDPS X6, X5, X5")
		k.op("VCVTPS2PH $0, X4, X4")
		k.op("VMOVD X4, AX")
		k.op("MOVW AX, (DI)")
		k.op("VBROADCASTSS X5, Y5")
		for i := range 4 {
			k.op("VMULPS Y5, Y%d, Y%[1]d", i)
			k.op("VROUNDPS $3, Y%d, Y6", i) // towards zero
			k.op("VSUBPS Y6, Y%d, Y7", i)
			k.op("VANDPS Y15, Y7, Y7")
			k.op("VCMPPS $0x1D, Y13, Y7, Y7") // half or more is cut off
			k.op("VANDNPS Y%d, Y15, Y8", i)   // sign
			k.op("VORPS Y14, Y8, Y8")
			k.op("VANDPS Y7, Y8, Y8")
			k.op("VADDPS Y8, Y6, Y6")
			k.op("VCVTTPS2DQ Y6, Y%d", i)
			k.op("VPAND Y12, Y%d, Y%[1]d", i)
		}
		k.op("VPACKUSDW Y1, Y0, Y0")
		k.op("VPACKUSDW Y3, Y2, Y2")
		k.op("VPACKUSWB Y2, Y0, Y0")
		k.op("VPERMD Y0, Y11, Y0")
		k.op("VMOVDQU Y0, 2(DI)")
		k.op("ADDQ $128, SI")
		k.op("ADDQ $34, DI")
	})
	k.ret()
}
