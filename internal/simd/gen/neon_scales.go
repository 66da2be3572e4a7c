package gen

// Headers of tiles to float32, and the quantization of activations: see scales.go and quantize.go. A kernel works on a
// quarter of the 16 rows at a time.

// Registers of constants.
const (
	arm0f, arm03, arm32 = 31, 30, 29
)

const scaleParams = "scales *float32, mins *float32, headers *byte, n int"

func armScales(f *file) {
	for _, s := range []struct {
		name string
		body func(k *arm, h int)
		size int // bytes of a header
		outs int // scales it makes
		mins bool
	}{
		{"scalesF16", (*arm).scaleF16, 32, 1, false}, {"scalesF16M", (*arm).scaleF16M, 64, 1, true}, {"scalesE8", (*arm).scaleE8, 16, 1, false},
		{"scalesQ4K", (*arm).scaleQ4K, 320, 8, true}, {"scalesQ6K", (*arm).scaleQ6K, 288, 16, false}, {"scalesQ3K", (*arm).scaleQ3K, 224, 16, false},
		{"scalesQ2K", (*arm).scaleQ2K, 320, 16, true}, {"scalesIQ4XS", (*arm).scaleIQ4XS, 128, 8, false},
	} {
		k := newArm(f, s.name+"Vector", "", scaleParams, "")
		k.inAll("scales", "mins", "headers", "n")
		for i, w := range []uint32{32, 0x03030303, 0x0f0f0f0f} {
			k.bits(w, arm32+i)
		}
		k.repeat("R3", 1, func() {
			for h := range 4 {
				s.body(k, h)
			}
			k.add(s.size, "R2")
			k.add(64*s.outs, "R0")
			if s.mins {
				k.add(64*s.outs, "R1")
			}
		})
		k.done()
	}
	armScalesF32(f)
	armQuantize(f)
}

// half loads four halves of the header as float32.
func (k *arm) half(off, h, v int) {
	k.op("FMOVD %d(R2), F%d", off+8*h, v)
	k.v2("FCVTL", v, v)
}

// u32 loads the words of four rows.
func (k *arm) u32(off, h, v int) { k.ldq("R2", off+16*h, v) }

// scaled stores (byte j of the words in register v, less bias where set) * register scale as output n, at base.
func (k *arm) scaled(v, j int, bias bool, scale int, base string, n, h int) {
	const t = 7
	k.shl(32, 24-8*j, t, v)
	k.ushr(32, 24, t, t)
	if bias {
		k.v3("SUB", t, t, arm32)
	}
	k.v2("SCVTF", t, t)
	k.v3("FMUL", t, scale, t)
	k.stq(t, base, 64*n+16*h)
}

func (k *arm) scaleF16(h int) {
	k.half(0, h, 0)
	k.stq(0, "R0", 16*h)
}

func (k *arm) scaleF16M(h int) {
	k.scaleF16(h)
	k.half(32, h, 1)
	k.stq(1, "R1", 16*h)
}

func (k *arm) scaleE8(h int) {
	k.lds("R2", 4*h, 0)
	k.v2("UXTL.8B", 0, 0)
	k.v2("UXTL.4H", 0, 0)
	k.shl(32, 23, 0, 0)
	k.bits(0x3f000000, 1) // 0.5
	k.v3("FMUL", 0, 0, 1)
	k.stq(0, "R0", 16*h)
}

// bytes stores the four bytes at off, signed or not, times register scale, at to of base.
func (k *arm) bytes(signs string, off, h, scale int, base string, to int) {
	const t = 7
	k.lds("R2", off+4*h, t)
	k.v2(signs+"XTL.8B", t, t)
	k.v2(signs+"XTL.4H", t, t)
	k.v2("SCVTF", t, t)
	k.v3("FMUL", t, scale, t)
	k.stq(t, base, to+16*h)
}

func (k *arm) scaleQ4K(h int) {
	k.half(0, h, 0)
	k.half(32, h, 1)
	k.v2("FNEG", 1, 1)
	for b := range 8 {
		k.bytes("U", 64+32*b, h, 0, "R0", 64*b)
		k.bytes("U", 80+32*b, h, 1, "R1", 64*b)
	}
}

func (k *arm) scaleQ6K(h int) {
	k.half(0, h, 0)
	for i := range 16 {
		k.bytes("S", 32+16*i, h, 0, "R0", 64*i)
	}
}

func (k *arm) scaleQ3K(h int) {
	k.half(0, h, 0)
	k.u32(32, h, 1)
	k.u32(96, h, 2)
	k.u32(160, h, 3)
	for q := range 4 { // scales 4q to 4q+3
		low := 1 + q%2
		if q >= 2 {
			k.ushr(8, 4, 5, low)
		} else {
			k.v3("AND", 5, low, arm0f)
		}
		from := 3
		if q > 0 {
			k.ushr(8, 2*q, 6, 3)
			from = 6
		}
		k.v3("AND", 6, from, arm03)
		k.shl(8, 4, 6, 6)
		k.v3("ORR", 5, 5, 6)
		for j := range 4 {
			k.scaled(5, j, true, 0, "R0", 4*q+j, h)
		}
	}
}

func (k *arm) scaleQ2K(h int) {
	k.half(0, h, 0)
	k.half(32, h, 1)
	k.v2("FNEG", 1, 1)
	for q := range 4 {
		k.u32(64+64*q, h, 2)
		k.v3("AND", 3, 2, arm0f)
		k.ushr(8, 4, 2, 2)
		for j := range 4 {
			k.scaled(3, j, false, 0, "R0", 4*q+j, h)
			k.scaled(2, j, false, 1, "R1", 4*q+j, h)
		}
	}
}

func (k *arm) scaleIQ4XS(h int) {
	k.half(0, h, 0)
	k.u32(32, h, 1)
	k.op("FMOVD %d(R2), F2", 96+8*h)
	k.v2("UXTL.4H", 2, 2)
	for j := range 8 {
		k.shl(32, 28-4*j, 6, 1)
		k.ushr(32, 28, 6, 6)
		k.shl(32, 30-2*j, 7, 2)
		k.ushr(32, 30, 7, 7)
		k.shl(32, 4, 7, 7)
		k.v3("ORR", 6, 6, 7)
		k.v3("SUB", 6, 6, arm32)
		k.v2("SCVTF", 6, 6)
		k.v3("FMUL", 6, 0, 6)
		k.stq(6, "R0", 64*j+16*h)
	}
}

// armScalesF32: see scalesF32.
func armScalesF32(f *file) {
	k := newArm(f, "scalesF32Vector", "", scaleParams+", left int, per int, bias float32", "")
	k.inAll("scales", "mins", "headers", "n", "left", "per")
	k.splat("bias", 31)
	read := func() {
		for h := range 4 {
			k.ldq("R2", 16*h, h)
		}
		k.add(64, "R2")
		plain := k.label("plain")
		k.op("CBZ R1, %s", plain)
		for h := range 4 {
			k.ldq("R2", 16*h, 4+h)
			k.v3("FADD", 4+h, 4+h, 31)
			k.v3("FMUL", 4+h, 4+h, h)
		}
		k.add(64, "R2")
		k.at(plain)
	}
	read()
	k.repeat("R3", 1, func() {
		next, plain := k.label("next"), k.label("plain")
		k.op("CBNZ R4, %s", next)
		read()
		k.op("MOVD R5, R4")
		k.at(next)
		k.op("SUB $1, R4, R4")
		for h := range 4 {
			k.stq(h, "R0", 16*h)
		}
		k.add(64, "R0")
		k.op("CBZ R1, %s", plain)
		for h := range 4 {
			k.stq(4+h, "R1", 16*h)
		}
		k.add(64, "R1")
		k.at(plain)
	})
	k.done()
}

// armQuantize: see quantizeActs. A NaN is converted to 0 here and to the least number there, whose byte is -128: a mask
// makes it so.
func armQuantize(f *file) {
	k := newArm(f, "quantizeBlocks", `quantizes blocks of 32 values: codes to q, scales to d, and to sums the
integer sums of the two halves of each block.`, "q *int8, d *float32, sums *int32, x *float32, blocks int", "")
	k.inAll("q", "d", "sums", "x", "blocks")
	k.bits(magnitudeBits, 31)
	k.bits(0x80000000, 30)
	k.op("MOVW $0x42fe0000, R5") // 127
	k.op("FMOVS R5, F29")
	k.op("MOVW $0x0d800000, R6") // 2^-100
	k.repeat("R4", 1, func() {
		some, next := k.label("some"), k.label("next")
		for i := range 8 {
			k.ldq("R3", 16*i, i)
			k.v3("AND", 16+i%2, i, 31)
			switch i {
			case 0:
				k.v2("MOV", 18, 16)
			default:
				k.v3("UMAX", 18, 18, 16+i%2)
			}
		}
		k.v2("UMAXV", 18, 18)
		k.op("FMOVS F18, R7")
		k.op("CMPW R6, R7")
		k.op("BHS %s", some)
		k.zero(0)
		k.stq(0, "R0", 0)
		k.stq(0, "R0", 16)
		k.op("MOVW ZR, (R1)")
		k.op("MOVD ZR, (R2)")
		k.op("B %s", next)
		k.at(some)
		k.op("FDIVS F29, F18, F19") // top/127
		k.op("FDIVS F18, F29, F20") // 127/top
		k.sts(19, "R1", 0)
		for i := range 8 {
			k.fmulE(i, i, 20, 0)
			k.v3("FCMEQ", 16, i, i)
			k.v2("FCVTNS", i, i)
			k.v3("BSL", 16, i, 30)
			k.v2([]string{"SQXTN.4H", "SQXTN2.8H"}[i%2], 21+i/2, 16)
		}
		for i := range 4 {
			k.v2([]string{"SQXTN.8B", "SQXTN2.16B"}[i%2], 25+i/2, 21+i)
		}
		for i := range 2 {
			k.stq(25+i, "R0", 16*i)
			k.v2("SADDLP.16B", 25+i, 25+i)
			k.v2("SADDLP.8H", 25+i, 25+i)
			k.v2("ADDV", 25+i, 25+i)
			k.sts(25+i, "R2", 4*i)
		}
		k.at(next)
		k.add(128, "R3")
		k.add(32, "R0")
		k.add(4, "R1")
		k.add(8, "R2")
	})
	k.done()
}
