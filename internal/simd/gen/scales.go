package gen

import "fmt"

// scalesFile: kernels that turn the headers of a tile into float32 scales and minimums, and the one that quantizes
// activations.
func scalesFile() *file {
	f := &file{name: "scales", about: `
Headers of tiles to float32: 16 scales (one per row), and where the format has them 16 minimums, for each block of 32
columns or each half of one. See matrix_layout.go for the headers. Beside them, the quantization of activations.`}
	for _, v := range isas {
		scalesF16(f, v, false)
		scalesF16(f, v, true)
		scalesE8(f, v)
		scalesF32(f, v)
		for _, s := range []struct {
			name string
			body func(k scaleKernel, h int)
			size int // bytes of a header
			outs int // scales it makes
			min  bool
		}{
			{"scalesQ4K", scaleKernel.q4k, 320, 8, true},
			{"scalesQ6K", scaleKernel.q6k, 288, 16, false},
			{"scalesQ3K", scaleKernel.q3k, 224, 16, true},
			{"scalesQ2K", scaleKernel.q2k, 320, 16, true},
			{"scalesIQ4XS", scaleKernel.iq4xs, 128, 8, false},
		} {
			k := newScaleKernel(f, v, s.name)
			k.constants()
			k.loop("CX", 1, func() {
				for h := range k.halves() {
					s.body(k, h)
				}
				k.op("ADDQ $%d, SI", s.size)
				k.op("ADDQ $%d, DI", 64*s.outs)
				if s.min {
					k.op("ADDQ $%d, BX", 64*s.outs)
				}
			})
			k.ret()
		}
	}
	quantizeActs(f)
	return f
}

// scaleKernel reads headers at SI and writes scales at DI and minimums at BX. Registers 15 and down hold constants.
type scaleKernel struct{ quantKernel }

func newScaleKernel(f *file, v isa, name string) scaleKernel {
	k := scaleKernel{newQuantKernel(f, v, name, "", "scales *float32, mins *float32, headers *byte, n int", codes{})}
	k.load("scales", "DI")
	k.load("mins", "BX")
	k.load("headers", "SI")
	k.load("n", "CX")
	return k
}

const (
	c0f, c03 = 15, 14
	byte0    = 8 // registers 8 to 11 pick byte 0 to 3 of every lane
)

// constants loads masks.
func (k scaleKernel) constants() {
	k.words(0x0f0f0f0f, c0f)
	k.words(0x03030303, c03)
	for j := range 4 {
		w := []uint32{0x80808000, 0x80808004, 0x80808008, 0x8080800c} // control bytes for lanes 0-3 of byte 0
		for i := range w {
			w[i] += uint32(j)
		}
		name := fmt.Sprintf("%sByte%d", k.file.name, j)
		k.file.datum(name, w)
		if k.vnni {
			k.op("VBROADCASTI32X4 %s<>(SB), %s", name, k.r(byte0+j))
		} else {
			k.op("VBROADCASTI128 %s<>(SB), %s", name, k.r(byte0+j))
		}
	}
}

// half loads 16 halves (one half of the rows: 8) as float32.
func (k scaleKernel) f16(disp, h, reg int) {
	if k.vnni {
		k.op("VCVTPH2PS %d(SI), %s", disp, k.r(reg))
	} else {
		k.op("VCVTPH2PS %d(SI), %s", disp+16*h, k.r(reg))
	}
}

// u32 loads the 32-bit word of every row.
func (k scaleKernel) u32(disp, h, reg int) { k.plane("SI", disp, h, reg) }

// and sets to = a & mask.
func (k scaleKernel) and(mask, a, to int) { k.bits("AND", "%s, %s, %s", k.r(mask), k.r(a), k.r(to)) }
func (k scaleKernel) or(a, to int)        { k.bits("OR", "%s, %s, %[2]s", k.r(a), k.r(to)) }

// put stores the float values (byte j of values, less bias)*scale as output n.
func (k scaleKernel) put(values, j, bias, scale int, ptr string, n, h int) {
	const t = 7
	k.op("VPSHUFB %s, %s, %s", k.r(byte0+j), k.r(values), k.r(t))
	if bias >= 0 {
		k.op("VPSUBD %s, %s, %[2]s", k.r(bias), k.r(t))
	}
	k.op("VCVTDQ2PS %s, %[1]s", k.r(t))
	k.op("VMULPS %s, %s, %[2]s", k.r(scale), k.r(t))
	k.op("VMOVUPS %s, %d(%s)", k.r(t), 64*n+32*h, ptr)
}

// negate flips the signs of register reg.
func (k scaleKernel) negate(reg, t int) {
	k.op("VXORPS %s, %[1]s, %[1]s", k.r(t))
	k.op("VSUBPS %s, %s, %[1]s", k.r(reg), k.r(t))
}

// scalesF16: one half-precision scale a row and block, or a scale and a minimum.
func scalesF16(f *file, v isa, min bool) {
	name := "scalesF16"
	if min {
		name = "scalesF16M"
	}
	k := newScaleKernel(f, v, name)
	k.loop("CX", 1, func() {
		for h := range k.halves() {
			k.f16(0, h, 0)
			k.op("VMOVUPS %s, %d(DI)", k.r(0), 32*h)
			if min {
				k.f16(32, h, 1)
				k.op("VMOVUPS %s, %d(BX)", k.r(1), 32*h)
			}
		}
		k.op("ADDQ $64, DI")
		k.op("ADDQ $32, SI")
		if min {
			k.op("ADDQ $32, SI")
			k.op("ADDQ $64, BX")
		}
	})
	k.ret()
}

// scalesE8: one byte e, the scale is 2^(e-128), but 0 for e = 0 (which stands for 2^-128) and Inf for 255.
func scalesE8(f *file, v isa) {
	k := newScaleKernel(f, v, "scalesE8")
	k.words(0x3f000000, 15) // 0.5
	k.loop("CX", 1, func() {
		for h := range k.halves() {
			k.op("VPMOVZXBD %d(SI), %s", 8*h, k.r(0))
			k.op("VPSLLD $23, %s, %[1]s", k.r(0))
			k.op("VMULPS %s, %s, %[2]s", k.r(15), k.r(0))
			k.op("VMOVUPS %s, %d(DI)", k.r(0), 32*h)
		}
		k.op("ADDQ $64, DI")
		k.op("ADDQ $16, SI")
	})
	k.ret()
}

// scalesF32: a float32 scale a row, and 64 bytes behind it where there are minimums a number to be multiplied with it, for
// per blocks; the first one is for the next left blocks. bias is added to that number.
func scalesF32(f *file, v isa) {
	k := scaleKernel{newQuantKernel(f, v, "scalesF32", "", "scales *float32, mins *float32, headers *byte, n int, left int, per int, bias float32", codes{})}
	k.load("scales", "DI")
	k.load("mins", "BX")
	k.load("headers", "SI")
	k.load("n", "CX")
	k.load("left", "AX")
	k.load("per", "DX")
	k.broadcast("bias", 15)
	read := func() {
		for h := range k.halves() {
			k.op("VMOVUPS %d(SI), %s", 32*h, k.r(h))
		}
		k.op("ADDQ $64, SI")
		plain := k.label("plain")
		k.op("TESTQ BX, BX")
		k.op("JEQ %s", plain)
		for h := range k.halves() {
			k.op("VADDPS %d(SI), %s, %s", 32*h, k.r(15), k.r(2+h))
			k.op("VMULPS %s, %s, %[2]s", k.r(h), k.r(2+h))
		}
		k.op("ADDQ $64, SI")
		k.at(plain)
	}
	read()
	k.loop("CX", 1, func() {
		next, plain := k.label("next"), k.label("plain")
		k.op("TESTQ AX, AX")
		k.op("JNE %s", next)
		read()
		k.op("MOVQ DX, AX")
		k.at(next)
		k.op("DECQ AX")
		for h := range k.halves() {
			k.op("VMOVUPS %s, %d(DI)", k.r(h), 32*h)
		}
		k.op("ADDQ $64, DI")
		k.op("TESTQ BX, BX")
		k.op("JEQ %s", plain)
		for h := range k.halves() {
			k.op("VMOVUPS %s, %d(BX)", k.r(2+h), 32*h)
		}
		k.op("ADDQ $64, BX")
		k.at(plain)
	})
	k.ret()
}

// bytes stores 16 bytes at disp (one half of them: 8), signed or not, times scale, at off of ptr.
func (k scaleKernel) bytes(extend string, disp, h, scale int, ptr string, off int) {
	const t = 2
	k.op("%s %d(SI), %s", extend, disp+8*h, k.r(t))
	k.op("VCVTDQ2PS %s, %[1]s", k.r(t))
	k.op("VMULPS %s, %s, %[2]s", k.r(scale), k.r(t))
	k.op("VMOVUPS %s, %d(%s)", k.r(t), off+32*h, ptr)
}

// q4k: d, m (half), and a byte for the scale and one for the minimum of each block.
func (k scaleKernel) q4k(h int) {
	k.f16(0, h, 0)
	k.f16(32, h, 1)
	k.negate(1, 2)
	for b := range 8 {
		k.bytes("VPMOVZXBD", 64+32*b, h, 0, "DI", 64*b)
		k.bytes("VPMOVZXBD", 80+32*b, h, 1, "BX", 64*b)
	}
}

// q6k: d (half), 16 signed bytes.
func (k scaleKernel) q6k(h int) {
	k.f16(0, h, 0)
	for i := range 16 {
		k.bytes("VPMOVSXBD", 32+16*i, h, 0, "DI", 64*i)
	}
}

// q3k: d (half), 12 bytes of six-bit scales, less 32: low nibbles in bytes 0-7 (scales j and j+8), upper pairs in bytes
// 8-11 (scales j, j+4, j+8, j+12). The codes' zero is 4, so the minimum is -4 times the scale.
func (k scaleKernel) q3k(h int) {
	k.f16(0, h, 0)
	k.u32(32, h, 1)
	k.u32(96, h, 2)
	k.u32(160, h, 3)
	k.words(32, 4)
	k.words(0xc0800000, 6) // -4
	for q := range 4 {     // scales 4q to 4q+3
		low := 1 + q%2
		from := low
		if q >= 2 {
			k.op("VPSRLD $4, %s, %s", k.r(low), k.r(5))
			from = 5
		}
		k.and(c0f, from, 5)
		from = 3
		if q > 0 {
			k.op("VPSRLD $%d, %s, %s", 2*q, k.r(3), k.r(7))
			from = 7
		}
		k.and(c03, from, 7)
		k.op("VPSLLD $4, %s, %[1]s", k.r(7))
		k.or(7, 5)
		for j := range 4 {
			n := 4*q + j
			k.put(5, j, 4, 0, "DI", n, h)
			k.op("VMULPS %s, %s, %[2]s", k.r(6), k.r(7))
			k.op("VMOVUPS %s, %d(BX)", k.r(7), 64*n+32*h)
		}
	}
}

// q2k: d, m (half), 16 bytes: a scale in the low nibble, a minimum in the high one.
func (k scaleKernel) q2k(h int) {
	k.f16(0, h, 0)
	k.f16(32, h, 1)
	k.negate(1, 2)
	for q := range 4 {
		k.u32(64+64*q, h, 2)
		k.and(c0f, 2, 3)
		k.op("VPSRLD $4, %s, %[1]s", k.r(2))
		k.and(c0f, 2, 2)
		for j := range 4 {
			k.put(3, j, -1, 0, "DI", 4*q+j, h)
			k.put(2, j, -1, 1, "BX", 4*q+j, h)
		}
	}
}

// iq4xs: d (half), 8 nibbles in a word of 32 bits and their upper pairs in one of 16: scales, less 32.
func (k scaleKernel) iq4xs(h int) {
	k.f16(0, h, 0)
	k.u32(32, h, 1)
	high := 96
	if !k.vnni {
		high += 16 * h
	}
	k.op("VPMOVZXWD %d(SI), %s", high, k.r(2))
	k.words(15, 3)
	k.words(48, 4)
	k.words(32, 5)
	for j := range 8 {
		from := 1
		if j > 0 {
			k.op("VPSRLD $%d, %s, %s", 4*j, k.r(1), k.r(6))
			from = 6
		}
		k.and(3, from, 6)
		k.shift(2, 2*j, 4, 7)
		k.and(4, 7, 7)
		k.or(7, 6)
		k.op("VPSUBD %s, %s, %[2]s", k.r(5), k.r(6))
		k.op("VCVTDQ2PS %s, %[1]s", k.r(6))
		k.op("VMULPS %s, %s, %[2]s", k.r(0), k.r(6))
		k.op("VMOVUPS %s, %d(DI)", k.r(6), 64*j+32*h)
	}
}
