package gen

import "fmt"

// Kernels for several rows of activations on Intel's AMX: a tile of 16 rows by 32 bytes of activations times one block of
// a packed tile, which lies in memory as the unit wants it, is 16 x 16 integer sums by one instruction. The sums go through
// memory to vector registers, where they become floats by the operations of quantKernel.toFloat in the same order, so the
// bits are those of the other kernels.

// amxRows lists how many rows of activations the kernels take; fewer are computed along with rows that nobody reads.
var amxRows = []int{16, 8, 4}

var amxKinds = []kind{centred, affine, centredHalf, affineHalf, signedAffine}

const amxParams = "dst *float32, ld int, codes *byte, scales *float32, mins *float32, q *int8, d *float32, s *float32, groups int, qs int, ds int, ss int, blocks int, init int, tmp *byte, config *byte"

func amxFile() *file {
	f := &file{name: "amx", about: `
Quantized weights times rows of activations on AMX. Codes come as signed bytes, 16 rows by 4 columns in 64 bytes, which is
the order of the second operand. See acts_tiles.go for the order of the activations.`}
	for _, kd := range amxKinds {
		for _, rows := range amxRows {
			amxMul(f, kd, rows)
		}
	}
	f.table = amxTable()
	return f
}

func amxTable() string {
	s := "// amxMulKernel runs the kernel of that kind for that many rows.\n"
	s += fmt.Sprintf("func amxMulKernel(kd codeKind, rows int, %s) {\n\tswitch int(kd)<<8 | rows {\n", amxParams)
	for _, kd := range amxKinds {
		for _, rows := range amxRows {
			s += fmt.Sprintf("\tcase int(kind%s)<<8 | %d:\n\t\tamxMul%[1]sx%[2]d(%s)\n", kd.name, rows, names(amxParams))
		}
	}
	return s + "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n"
}

// amxMul: registers 0 to 15 are the sums of the rows, 30 and 31 scales and minimums. Tiles 0 and 1 take integer sums, 4
// activations, 6 codes. SI walks over activations (32 bytes on, then 992, then 32: two blocks lie side by side), DI over
// codes, R8 scales, R9 mins, R10 scales of the activations, R11 their sums. While the unit works at a block, the vector
// units turn the sums of the one before into floats.
func amxMul(f *file, kd kind, rows int) {
	k := kernel{f.newFn(fmt.Sprintf("amxMul%sx%d", kd.name, rows), "", amxParams, ""), avx512}
	parts := kd.parts()
	k.load("config", "AX")
	k.tileConfig("AX")
	k.op("MOVQ $64, DX")
	k.load("tmp", "BX")
	k.op("SHLQ $2, %s", k.arg("ld"))
	issue := func(p, buf int) { // buf < 0: the one that R12 says
		k.tileLoad(4, "SI", 16*p, "DX")
		k.tileLoad(6, "DI", 256*p, "DX")
		k.tileZero(0)
		k.tileDot(kd.signed, 0, 4, 6)
		if buf < 0 {
			k.op("LEAQ (BX)(R12*1), R13")
			k.tileStore(0, "R13", 0, "DX")
			return
		}
		k.tileStore(0, "BX", 1024*buf, "DX")
	}
	floats := func(p, buf int) {
		base, disp := "BX", 1024*buf
		if buf < 0 { // the other one than R12 says
			k.op("MOVQ R12, R13")
			k.op("XORQ $1024, R13")
			k.op("ADDQ BX, R13")
			base, disp = "R13", 0
		}
		k.op("VMOVUPS %d(R8), Z30", 64*p)
		if kd.affine {
			k.op("VMOVUPS %d(R9), Z31", 64*p)
		}
		for r := range rows {
			t := 16 + r%12
			k.op("VCVTDQ2PS %d(%s), Z%d", disp+64*r, base, t)
			k.op("VMULPS Z30, Z%d, Z%[1]d", t)
			k.op("VFMADD231PS.BCST %d(R10), Z%d, Z%d", 4*r, t, r)
			if kd.affine {
				k.op("VFMADD231PS.BCST %d(R11), Z31, Z%d", 64*p+4*r, r)
			}
		}
	}
	ahead := func() {
		k.op("ADDQ AX, SI")
		k.op("NEGQ AX")
		k.op("ADDQ $1024, AX")
		k.op("ADDQ $512, DI")
	}
	follow := func() {
		k.op("ADDQ $%d, R8", 64*parts)
		k.op("ADDQ $%d, R9", 64*parts)
		k.op("ADDQ $64, R10")
		k.op("ADDQ $%d, R11", 64*parts)
	}
	group, top, last := k.label("group"), k.label("loop"), k.label("last")
	k.at(group)
	for _, p := range [][2]string{{"q", "SI"}, {"codes", "DI"}, {"scales", "R8"}, {"mins", "R9"}, {"d", "R10"}, {"s", "R11"}, {"blocks", "CX"}} {
		k.load(p[0], p[1])
	}
	amxSums(k, rows, true)
	k.op("MOVQ $32, AX")
	if parts == 2 {
		issue(0, 0)
		k.at(top)
		issue(1, 1)
		floats(0, 0)
		k.op("SUBQ $1, CX")
		k.op("JEQ %s", last)
		ahead()
		issue(0, 0)
		floats(1, 1)
		follow()
		k.op("JMP %s", top)
		k.at(last)
		floats(1, 1)
	} else {
		k.op("XORQ R12, R12")
		issue(0, -1)
		k.at(top)
		k.op("XORQ $1024, R12")
		k.op("SUBQ $1, CX")
		k.op("JEQ %s", last)
		ahead()
		issue(0, -1)
		floats(0, -1)
		follow()
		k.op("JMP %s", top)
		k.at(last)
		floats(0, -1)
	}
	amxSums(k, rows, false)
	done := k.label("done")
	k.op("SUBQ $1, %s", k.arg("groups"))
	k.op("JEQ %s", done)
	for _, p := range [][2]string{{"q", "qs"}, {"d", "ds"}, {"s", "ss"}} {
		k.load(p[1], "R13")
		k.op("ADDQ R13, %s", k.arg(p[0]))
	}
	k.load("ld", "R13")
	k.op("IMULQ $%d, R13", rows)
	k.op("ADDQ R13, %s", k.arg("dst"))
	k.op("JMP %s", group)
	k.at(done)
	k.tileRelease()
	k.ret()
}

// amxSums loads the sums from dst (or zeroes them where init is 0), or stores them.
func amxSums(k kernel, rows int, load bool) {
	zero, ready := k.label("zero"), k.label("ready")
	if load {
		k.op("CMPQ %s, $0", k.arg("init"))
		k.op("JEQ %s", zero)
	}
	k.load("dst", "R13")
	k.load("ld", "R12")
	for r := range rows {
		if load {
			k.op("VMOVUPS (R13), Z%d", r)
		} else {
			k.op("VMOVUPS Z%d, (R13)", r)
		}
		if r+1 < rows {
			k.op("ADDQ R12, R13")
		}
	}
	if !load {
		return
	}
	k.op("JMP %s", ready)
	k.at(zero)
	for r := range rows {
		k.zero(r)
	}
	k.at(ready)
}
