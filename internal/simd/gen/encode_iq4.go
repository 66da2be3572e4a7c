package gen

import "math"

// iq4Values are the values of the codes of iq4_nl and iq4_xs.
var iq4Values = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// iq4Border is where code i begins.
func iq4Border(i int) float32 { return (iq4Values[i-1] + iq4Values[i]) / 2 }

// iq4Tables defines the constants of the search for the nearest value. Masks are -1 where they are set, so the search
// counts downwards: a table's entry for k is at -k mod 8.
func (k encoder) iq4Tables() {
	table := func(name string, n int, entry func(i int) float32) {
		words := make([]uint32, 8)
		for i := range n {
			words[-i&7] = math.Float32bits(entry(i))
		}
		k.file.datum(name, words)
	}
	table("iq4Third", 4, func(i int) float32 { return iq4Border(2 + 4*i) })
	table("iq4Fourth", 8, func(i int) float32 { return iq4Border(1 + 2*i) })
	table("iq4Low", 8, func(i int) float32 { return iq4Values[i] })
	table("iq4High", 8, func(i int) float32 { return iq4Values[8+i] })
	k.float(iq4Border(8), 15)
	k.float(iq4Border(4), 14)
	k.float(iq4Border(12), 13)
	k.op("VMOVUPS iq4Third<>(SB), Y12")
	k.op("VMOVUPS iq4Fourth<>(SB), Y11")
}

// iq4Index sets register n to minus the index of the value nearest to v, and first to the mask of indexes from 8 on; t is
// scratch. A comparison "not less" is true for NaN, which has the last index.
func (k encoder) iq4Index(v, n, first, t int) {
	k.op("VCMPPS $0x15, Y15, Y%d, Y%d", v, first)
	k.op("VBLENDVPS Y%d, Y13, Y14, Y%d", first, t)
	k.op("VCMPPS $0x15, Y%d, Y%d, Y%d", t, v, n)
	k.op("VPADDD Y%d, Y%d, Y%[2]d", first, n)
	k.op("VPADDD Y%d, Y%d, Y%[2]d", first, n)
	for _, table := range []int{12, 11} {
		k.op("VPERMPS Y%d, Y%d, Y%d", table, n, t)
		k.op("VCMPPS $0x15, Y%d, Y%d, Y%[1]d", t, v)
		k.op("VPADDD Y%d, Y%d, Y%[2]d", n, n)
		k.op("VPADDD Y%d, Y%d, Y%[2]d", t, n)
	}
}

// fitIQ4: see fitIQ4Generic.
func fitIQ4(f *file) {
	k := encoder{f.newFn("fitIQ48", "fitIQ48 is FitIQ4.", "fit *float32, x *float32, w *float32, n int", "")}
	k.load("fit", "BX")
	k.load("x", "SI")
	k.load("w", "DI")
	k.load("n", "R8")
	k.largest()
	k.iq4Tables()
	k.op("VMOVUPS iq4Low<>(SB), Y10")
	k.op("VMOVUPS iq4High<>(SB), Y9")
	k.search(7, false, false, func() {
		k.word(0x80000000, 1)
		k.op("VXORPS Y1, Y0, Y1")
		k.float(iq4Values[0], 2)
		k.op("VDIVPS Y2, Y1, Y1")
		k.float(1, 2)
		k.op("VDIVPS Y1, Y2, Y1")
	}, func() {
		k.op("VADDSS %s, X5, X5", k.file.const32(math.Float32bits(iq4Values[0])))
		k.op("VBROADCASTSS X5, Y5")
		k.op("VDIVPS Y0, Y5, Y1")
	}, func() {
		k.op("VXORPS X2, X2, X2")
		k.op("VXORPS X3, X3, X3")
		k.values(func() {
			k.op("VMOVUPS (SI)(AX*1), Y0")
			k.op("VMULPS Y0, Y1, Y4")
			k.iq4Index(4, 5, 6, 7)
			k.op("VPERMPS Y10, Y5, Y4")
			k.op("VPERMPS Y9, Y5, Y5")
			k.op("VBLENDVPS Y6, Y5, Y4, Y4") // the value
			k.op("VMULPS (DI)(AX*1), Y4, Y5")
			k.op("VMULPS Y0, Y5, Y6")
			k.op("VADDPS Y6, Y2, Y2")
			k.op("VMULPS Y4, Y5, Y5")
			k.op("VADDPS Y5, Y3, Y3")
		})
	})
}

// roundIQ4: the indexes of values times an inverse scale.
func roundIQ4(f *file) {
	k := encoder{f.newFn("roundIQ4", "roundIQ4 sets l to the indexes of the values nearest to inverse*x; n is a multiple of 16.", "l *uint8, x *float32, n int, inverse float32", "")}
	k.load("l", "DI")
	k.load("x", "SI")
	k.load("n", "CX")
	k.iq4Tables()
	k.op("VBROADCASTSS %s, Y10", k.arg("inverse"))
	k.op("VPXOR X9, X9, X9")
	k.loop("CX", 16, func() {
		for i := range 2 {
			k.op("VMULPS %d(SI), Y10, Y4", 32*i)
			k.iq4Index(4, 5, 6, 7)
			k.op("VPSUBD Y5, Y9, Y%d", i)
		}
		k.packBytes()
		k.op("ADDQ $64, SI")
		k.op("ADDQ $16, DI")
	})
	k.ret()
}
