package gen

import (
	"fmt"
	"math"
)

// kernel is a function over vectors of float32, being written for one width.
//
// Registers of a kernel: 15 is the mask of the last, partial vector (AVX2; K1 in AVX-512), 14 and 13 hold what the kernel
// keeps over the loop, the others are for one step.
type kernel struct {
	*fn
	isa
}

const maskReg = 15

// constant is a float32 in memory that instructions take as an operand: 32 bytes for AVX2, of which AVX-512 broadcasts the
// first four.
func (k kernel) constant(x float32) string {
	bits := math.Float32bits(x)
	name := fmt.Sprintf("%s_%08x", k.file.name, bits)
	k.file.datum(name, repeat(bits, 8))
	return name + "<>(SB)"
}

// opC emits an instruction whose first operand (the last source) is a constant.
func (k kernel) opC(name string, c float32, regs string) {
	if k.isa == avx512 {
		name += ".BCST"
	}
	k.op("%s %s, %s", name, k.constant(c), regs)
}

// set loads a constant.
func (k kernel) set(c float32, reg string) {
	if k.isa == avx512 {
		k.op("VBROADCASTSS %s, %s", k.constant(c), reg)
	} else {
		k.op("VMOVUPS %s, %s", k.constant(c), reg)
	}
}

// words sets all lanes of a register to w.
func (k kernel) words(w uint32, reg int) {
	k.op("VPBROADCASTD %s, %s", k.file.const32(w), k.r(reg))
}

// zero clears register i.
func (k kernel) zero(i int) { k.op("VXORPS X%d, X%[1]d, X%[1]d", i) }

// sweep runs body over n values (n in CX): unroll vectors at a time, one at a time, and the rest under the mask. body gets
// the index of the vector in the step, its displacement, and whether it is partial. ptrs are advanced.
func (k kernel) sweep(ptrs []string, unroll int, body func(u, disp int, part bool)) {
	steps := []int{unroll, 1}
	if unroll == 1 {
		steps = steps[:1]
	}
	for _, s := range steps {
		k.loop("CX", s*k.lanes(), func() {
			for u := range s {
				body(u, u*k.bytes, false)
			}
			for _, p := range ptrs {
				k.op("ADDQ $%d, %s", s*k.bytes, p)
			}
		})
	}
	end := k.label("end")
	k.op("TESTQ CX, CX")
	k.op("JEQ %s", end)
	tailMask(k.fn, k.isa, "CX", maskReg)
	body(0, 0, true)
	k.at(end)
}

// from loads a vector.
func (k kernel) from(ptr string, disp, reg int, part bool) {
	m := fmt.Sprintf("%d(%s)", disp, ptr)
	if part {
		maskedLoad(k.fn, k.isa, m, k.r(reg), maskReg)
	} else {
		k.op("VMOVUPS %s, %s", m, k.r(reg))
	}
}

// to stores a vector.
func (k kernel) to(reg int, ptr string, disp int, part bool) {
	m := fmt.Sprintf("%d(%s)", disp, ptr)
	if part {
		maskedStore(k.fn, k.isa, k.r(reg), m, maskReg)
	} else {
		k.op("VMOVUPS %s, %s", k.r(reg), m)
	}
}

// keep zeroes the lanes outside the mask.
func (k kernel) keep(reg int, part bool) {
	switch {
	case !part:
	case k.isa == avx512:
		k.op("VMOVAPS.Z %s, K1, %[1]s", k.r(reg))
	default:
		k.op("VANDPS %s, %s, %[2]s", k.r(maskReg), k.r(reg))
	}
}

// bits emits a bitwise operation, which has another name for each width.
func (k kernel) bits(name string, operands string, args ...any) {
	if k.isa == avx512 {
		name += "D"
	}
	k.op("VP"+name+" "+operands, args...)
}

// packWords packs the 8 32-bit integers each of Y registers a and b into 16 words in a, in their order: the instruction works within
// lanes of 128 bits.
func (g *fn) packWords(a, b int) {
	g.op("VPACKSSDW Y%d, Y%d, Y%[2]d", b, a)
	g.op("VPERMQ $0xD8, Y%d, Y%[1]d", a)
}

// fold adds (or compares, by op) register b to a, then the lanes of a to one, in X registers; t is scratch. The order is the
// same for every call.
func (k kernel) fold(op string, a, t int) {
	if k.isa == avx512 {
		k.op("VEXTRACTF64X4 $1, Z%d, Y%d", a, t)
		k.op("%s Y%d, Y%d, Y%[3]d", op, t, a)
	}
	k.op("VEXTRACTF128 $1, Y%d, X%d", a, t)
	k.op("%s X%d, X%d, X%[3]d", op, t, a)
	k.op("VPERMILPS $0x4E, X%d, X%d", a, t)
	k.op("%s X%d, X%d, X%[3]d", op, t, a)
	k.op("VPERMILPS $0xB1, X%d, X%d", a, t)
	k.op("%s X%d, X%d, X%[3]d", op, t, a)
}

// result ends a function that returns lane 0 of register a.
func (k kernel) result(a int) {
	k.op("VMOVSS X%d, %s", a, k.arg("ret"))
	k.ret()
}

// broadcast loads a float32 parameter into all lanes.
func (k kernel) broadcast(param string, reg int) {
	k.op("VBROADCASTSS %s, %s", k.arg(param), k.r(reg))
}
