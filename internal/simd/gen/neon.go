package gen

import (
	"fmt"
	"math"
	"strings"
)

// Kernels for ARM64: NEON, which every such CPU has, and, where a kernel gains by it, the product of bytes SDOT of ARMv8.2
// (implementation dotprod). The Go assembler knows few instructions on vectors; the others are written as words here (Arm
// Architecture Reference Manual, C4.1 "Data Processing -- Scalar Floating-Point and Advanced SIMD").

// arm is a function being written.
type arm struct {
	*fn
	dot bool // may use SDOT
	tab []uint32
}

// newArm starts a function. Constants of vectors lie in a table of its own, at R10.
func newArm(f *file, name, doc, params, result string) *arm {
	if doc != "" {
		doc = name + " " + doc
	}
	return &arm{fn: f.newFn(name, doc, params, result)}
}

// in loads an integer or pointer parameter.
func (k *arm) in(name, reg string) { k.op("MOVD %s, %s", k.arg(name), reg) }

// inAll loads parameters to R0, R1 and so on.
func (k *arm) inAll(names ...string) {
	for i, n := range names {
		k.in(n, fmt.Sprintf("R%d", i))
	}
}

// splat loads a float32 parameter into all lanes.
func (k *arm) splat(name string, v int) {
	k.op("FMOVS %s, F%d", k.arg(name), v)
	k.dupS(v, v, 0)
}

// done ends the function.
func (k *arm) done() { k.op("RET") }

// answer ends a function that returns lane 0 of a register.
func (k *arm) answer(v int) {
	k.op("FMOVS F%d, %s", v, k.arg("ret"))
	k.op("RET")
}

func (k *arm) ldq(base string, off, v int) { k.op("FMOVQ %d(%s), F%d", off, base, v) }
func (k *arm) stq(v int, base string, off int) {
	k.op("FMOVQ F%d, %d(%s)", v, off, base)
}

// lds loads one value; the other lanes are zero.
func (k *arm) lds(base string, off, v int) { k.op("FMOVS %d(%s), F%d", off, base, v) }
func (k *arm) sts(v int, base string, off int) {
	k.op("FMOVS F%d, %d(%s)", v, off, base)
}
func (k *arm) add(n int, reg string) { k.op("ADD $%d, %s", n, reg) }

// first zeroes all lanes but the first.
func (k *arm) first(v int) { k.op("FMOVS F%d, F%[1]d", v) }

// repeat emits a loop that runs while counter is at least step.
func (k *arm) repeat(counter string, step int, body func()) {
	top, end := k.label("loop"), k.label("done")
	k.op("CMP $%d, %s", step, counter)
	k.op("BLT %s", end)
	k.at(top)
	body()
	k.op("SUB $%d, %s", step, counter)
	k.op("CMP $%d, %s", step, counter)
	k.op("BGE %s", top)
	k.at(end)
}

// word emits an instruction as its encoding.
func (k *arm) word(w uint32, format string, args ...any) {
	k.op("WORD $0x%08x // %s", w, fmt.Sprintf(format, args...))
}

// three emits an instruction on three vectors of 128 bits: d = a op b (or d op= a, b).
func (k *arm) three(name string, base uint32, d, a, b int) {
	k.word(base|1<<30|uint32(b)<<16|uint32(a)<<5|uint32(d), "%s V%d, V%d, V%d", name, d, a, b)
}

// same is the base of "three same": U, size, opcode.
func same(u, size, opcode uint32) uint32 { return 0x0e200400 | u<<29 | size<<22 | opcode<<11 }

// two is the base of "two-register miscellaneous".
func two(u, size, opcode uint32) uint32 { return 0x0e200800 | u<<29 | size<<22 | opcode<<12 }

// threeOps are the instructions on three vectors. Lanes are 32 bits wide where the name says nothing.
var threeOps = map[string]uint32{
	"FADD": same(0, 0, 0x1a), "FSUB": same(0, 2, 0x1a), "FMUL": same(1, 0, 0x1b), "FDIV": same(1, 0, 0x1f),
	"FMLA": same(0, 0, 0x19), "FMLS": same(0, 2, 0x19), "FMAX": same(0, 0, 0x1e), "FMIN": same(0, 2, 0x1e),
	"FADDP": same(1, 0, 0x1a), "FMAXP": same(1, 0, 0x1e), "FCMEQ": same(0, 0, 0x1c),
	"ADD": same(0, 2, 0x10), "SUB": same(1, 2, 0x10), "UMAX": same(1, 2, 0x0c), "ADDP.8H": same(0, 1, 0x17),
	"AND": same(0, 0, 3), "ORR": same(0, 2, 3), "EOR": same(1, 0, 3), "BSL": same(1, 1, 3),
	"SDOT": 0x0e809400, "SMULL": 0x0e20c000, "TBL": 0x0e000000,
	"ZIP1.8H": 0x0e403800, "ZIP2.8H": 0x0e407800, "ZIP1": 0x0e803800, "ZIP2": 0x0e807800,
	"UZP1.16B": 0x0e001800, "UZP2.16B": 0x0e005800,
	"ZIP1.2D": 0x0ec03800, "ZIP2.2D": 0x0ec07800, "SUB.16B": same(1, 0, 0x10),
}

func (k *arm) v3(name string, d, a, b int) {
	base, ok := threeOps[name]
	if !ok {
		panic("gen: no instruction " + name)
	}
	if name == "SMULL" { // of the lower halves
		k.word(base|uint32(b)<<16|uint32(a)<<5|uint32(d), "SMULL V%d.8H, V%d.8B, V%d.8B", d, a, b)
		return
	}
	k.three(name, base, d, a, b)
}

// smull2 multiplies the upper halves.
func (k *arm) smull2(d, a, b int) { k.three("SMULL2", threeOps["SMULL"], d, a, b) }

// twoOps are the instructions on two vectors of 128 bits; those that end in 2 fill or read the upper half.
var twoOps = map[string]uint32{
	"SCVTF": two(0, 0, 0x1d) | 1<<30, "FCVTNS": two(0, 0, 0x1a) | 1<<30, "FNEG": two(1, 2, 0x0f) | 1<<30,
	"FCVTL": two(0, 0, 0x17), "FCVTL2": two(0, 0, 0x17) | 1<<30, "FCVTN": two(0, 0, 0x16), "FCVTN2": two(0, 0, 0x16) | 1<<30,
	"SQXTN.4H": two(0, 1, 0x14), "SQXTN2.8H": two(0, 1, 0x14) | 1<<30, "SQXTN.8B": two(0, 0, 0x14), "SQXTN2.16B": two(0, 0, 0x14) | 1<<30,
	"SADDLP.16B": two(0, 0, 2) | 1<<30, "SADDLP.8H": two(0, 1, 2) | 1<<30, "SADALP.8H": two(0, 1, 6) | 1<<30,
	"UMAXV": 0x6eb0a800, "ADDV": 0x4eb1b800,
	"MOV":     0, // an ORR
	"SXTL.8B": shiftImm(0, 8, 0x14), "SXTL2.16B": shiftImm(0, 8, 0x14) | 1<<30, "SXTL.4H": shiftImm(0, 16, 0x14), "SXTL2.8H": shiftImm(0, 16, 0x14) | 1<<30,
	"UXTL.8B": shiftImm(1, 8, 0x14), "UXTL2.16B": shiftImm(1, 8, 0x14) | 1<<30, "UXTL.4H": shiftImm(1, 16, 0x14), "UXTL2.8H": shiftImm(1, 16, 0x14) | 1<<30,
	"SHRN16.4H": shiftImm(0, 16, 0x10), "SHRN216.8H": shiftImm(0, 16, 0x10) | 1<<30,
}

func (k *arm) v2(name string, d, a int) {
	if name == "MOV" {
		k.v3("ORR", d, a, a)
		return
	}
	base, ok := twoOps[name]
	if !ok {
		panic("gen: no instruction " + name)
	}
	k.word(base|uint32(a)<<5|uint32(d), "%s V%d, V%d", name, d, a)
}

// shiftImm is the base of "shift by immediate".
func shiftImm(u, immediate, opcode uint32) uint32 {
	return 0x0f000400 | u<<29 | immediate<<16 | opcode<<11
}

// shl and ushr shift lanes of that many bits; sshr brings copies of the sign.
func (k *arm) shl(bits, n, d, a int) {
	k.word(shiftImm(0, uint32(bits+n), 0x0a)|1<<30|uint32(a)<<5|uint32(d), "SHL%d V%d, V%d, #%d", bits, d, a, n)
}
func (k *arm) ushr(bits, n, d, a int) {
	k.word(shiftImm(1, uint32(2*bits-n), 0)|1<<30|uint32(a)<<5|uint32(d), "USHR%d V%d, V%d, #%d", bits, d, a, n)
}
func (k *arm) sshr(bits, n, d, a int) {
	k.word(shiftImm(0, uint32(2*bits-n), 0)|1<<30|uint32(a)<<5|uint32(d), "SSHR%d V%d, V%d, #%d", bits, d, a, n)
}

// byElement is the part of an instruction that names lane i of 4 of register b.
func byElement(b, i int) uint32 {
	return uint32(i&1)<<21 | uint32(b)<<16 | uint32(i>>1)<<11
}

// fmlaE adds a times lane i of b, fmulE sets it, sdotE adds products of four bytes with those of lane i.
func (k *arm) fmlaE(d, a, b, i int) {
	k.word(0x4f801000|byElement(b, i)|uint32(a)<<5|uint32(d), "FMLA V%d, V%d, V%d[%d]", d, a, b, i)
}
func (k *arm) fmulE(d, a, b, i int) {
	k.word(0x4f809000|byElement(b, i)|uint32(a)<<5|uint32(d), "FMUL V%d, V%d, V%d[%d]", d, a, b, i)
}
func (k *arm) sdotE(d, a, b, i int) {
	k.word(0x4f80e000|byElement(b, i)|uint32(a)<<5|uint32(d), "SDOT V%d, V%d, V%d[%d]", d, a, b, i)
}

// dupS sets all lanes to lane i; dupR to a general register.
func (k *arm) dupS(d, a, i int) {
	k.word(0x4e000400|uint32(i<<3|4)<<16|uint32(a)<<5|uint32(d), "DUP V%d, V%d[%d]", d, a, i)
}
func (k *arm) dupR(d, r int) {
	k.word(0x4e040c00|uint32(r)<<5|uint32(d), "DUP V%d, W%d", d, r)
}

// zero clears a register.
func (k *arm) zero(v int) { k.v3("EOR", v, v, v) }

// bits sets all lanes to w.
func (k *arm) bits(w uint32, v int) {
	k.op("MOVW $%d, R9", int32(w))
	k.dupR(v, 9)
}

// table makes the function's table of constants; its lines are known when the function is done.
func (k *arm) table() string {
	name := k.name + "Table"
	k.op("MOVD $%s<>(SB), R10", name)
	return name
}

// endTable writes the table out.
func (k *arm) endTable() {
	if len(k.tab) > 0 {
		k.file.datum(k.name+"Table", k.tab)
	}
}

// word32 loads a vector of w from the table.
func (k *arm) word32(w uint32, v int) {
	at := -1
	for i := 0; i < len(k.tab); i += 4 {
		if k.tab[i] == w {
			at = i
		}
	}
	if at < 0 {
		at = len(k.tab)
		k.tab = append(k.tab, w, w, w, w)
	}
	k.ldq("R10", 4*at, v)
}

// num loads a vector of a number from the table.
func (k *arm) num(x float32, v int) { k.word32(math.Float32bits(x), v) }

// sweep runs body over n values (in counter): unroll vectors at a time, then one, then single values in the first lane.
func (k *arm) sweep(counter string, ptrs []string, unroll int, body func(u, off int, one bool)) {
	steps := []int{unroll, 1}
	if unroll == 1 {
		steps = steps[1:]
	}
	for _, s := range steps {
		k.repeat(counter, 4*s, func() {
			for u := range s {
				body(u, 16*u, false)
			}
			for _, p := range ptrs {
				k.add(16*s, p)
			}
		})
	}
	k.repeat(counter, 1, func() {
		body(0, 0, true)
		for _, p := range ptrs {
			k.add(4, p)
		}
	})
}

// get loads a vector, or one value; put stores it.
func (k *arm) get(base string, off, v int, one bool) {
	if one {
		k.lds(base, off, v)
	} else {
		k.ldq(base, off, v)
	}
}
func (k *arm) put(v int, base string, off int, one bool) {
	if one {
		k.sts(v, base, off)
	} else {
		k.stq(v, base, off)
	}
}

// neonFile holds all kernels of ARM64.
func neonFile() *file {
	f := &file{name: "neon", about: `
The kernels of ARM64: the same functions as those of the other files, on vectors of 16 bytes.`}
	armFloat(f)
	armFunctions(f)
	armGemm(f)
	armHalf(f)
	armConvert(f)
	armScales(f)
	armQuant(f)
	armPairs(f)
	return f
}

// armAssembly is the assembly of a file for ARM64.
func (f *file) armAssembly() string {
	return strings.Replace(f.assembly(), "amd64 && !purego", "arm64 && !purego", 1)
}

// armStub is its Go declarations.
func (f *file) armStub() string {
	return strings.Replace(f.stub(), "amd64 && !purego", "arm64 && !purego", 1)
}
