package gen

import "fmt"

// armPairs: see pairs.go. A pair's 32 bytes are parted into the first and the second of each lane and widened to words, which are
// multiplied by a row's word that all lanes share.
func armPairs(f *file) {
	for _, rows := range []int{4, 2, 1} {
		armMulPairs(f, rows)
	}
	k := newArm(f, "prefetchLines", "asks for n lines of 64 bytes, to be read soon.", "p *byte, n int", "")
	k.inAll("p", "n")
	k.repeat("R1", 1, func() {
		k.op("PRFM (R0), PLDL1KEEP")
		k.add(64, "R0")
	})
	k.done()
	k = newArm(f, "scaleWords", "sets p to x*w, rounded to nearest even and held within 16 bits, for n blocks of 16.", "p *int16, x *float32, w *float32, n int", "")
	k.inAll("p", "x", "w", "n")
	k.repeat("R3", 1, func() {
		for i := range 4 {
			k.ldq("R1", 16*i, i)
			k.ldq("R2", 16*i, 4+i)
			k.v3("FMUL", i, i, 4+i)
			k.v2("FCVTNS", i, i)
			k.v2([]string{"SQXTN.4H", "SQXTN2.8H"}[i%2], 8+i/2, i)
		}
		k.stq(8, "R0", 0)
		k.stq(9, "R0", 16)
		k.add(32, "R0")
		k.add(64, "R1")
		k.add(64, "R2")
	})
	k.done()
}

// armMulPairs: registers 0 to 7 hold a pair's bytes on their way to words, 8 to 11 the words of the rows, 16 and up the sums.
func armMulPairs(f *file, rows int) {
	k := newArm(f, fmt.Sprintf("mulPairs%d", rows), "", mulPairsParams, "")
	for i, name := range []string{"ldc", "lda", "b", "d", "lds", "pairs", "fresh", "panels"} {
		k.in(name, []string{"R1", "R3", "R4", "R5", "R7", "R8", "R10", "R17"}[i])
	}
	k.in("next", "R20")
	k.op("SUB R4, R20, R20")
	k.op("LSL $2, R1, R1")
	k.op("LSL $1, R3, R3")
	k.op("LSL $2, R7, R7")
	k.in("c", "R21")
	row := func(i int) string { return fmt.Sprintf("R%d", 13+i) }
	k.repeat("R17", 1, func() {
		k.op("MOVD R21, R0")
		k.in("a", "R2")
		k.in("s", "R6")
		k.in("groups", "R9")
		k.repeat("R9", 1, func() {
			k.op("MOVD R4, R11")
			k.op("MOVD R8, R12")
			k.op("MOVD R2, %s", row(0))
			for i := 1; i < rows; i++ {
				k.op("ADD R3, %s, %s", row(i-1), row(i))
			}
			for i := range 4 * rows {
				k.zero(16 + i)
			}
			k.repeat("R12", 1, func() {
				k.op("ADD R20, R11, R19")
				k.op("PRFM (R19), PLDL1KEEP")
				k.ldq("R11", 0, 0)
				k.ldq("R11", 16, 1)
				for i, part := range []string{"UZP1.16B", "UZP2.16B"} {
					k.v3(part, 2+i, 0, 1)
					k.v2("SXTL.8B", 4+2*i, 2+i)
					k.v2("SXTL2.16B", 5+2*i, 2+i)
				}
				for i := range rows {
					k.lds(row(i), 0, 8+i)
					for h := range 4 {
						k.smlalE(16+4*i+h, 4+h/2, 8+i, 0, h%2)
						k.smlalE(16+4*i+h, 6+h/2, 8+i, 1, h%2)
					}
					k.add(4, row(i))
				}
				k.add(32, "R11")
			})
			for h := range 4 {
				k.ldq("R5", 16*h, h)
			}
			for i := range rows {
				set, stored := k.label("set"), k.label("stored")
				k.lds("R6", 0, 4)
				for h := range 4 {
					k.v2("SCVTF", 16+4*i+h, 16+4*i+h)
					k.v3("FMUL", 16+4*i+h, 16+4*i+h, h)
				}
				k.op("CBNZ R10, %s", set)
				for h := range 4 {
					k.ldq("R0", 16*h, 5)
					k.fmlaE(5, 16+4*i+h, 4, 0)
					k.stq(5, "R0", 16*h)
				}
				k.op("B %s", stored)
				k.at(set)
				for h := range 4 {
					k.fmulE(16+4*i+h, 16+4*i+h, 4, 0)
					k.stq(16+4*i+h, "R0", 16*h)
				}
				k.at(stored)
				k.op("ADD R1, R0")
				k.op("ADD R3, R2")
				k.op("ADD R7, R6")
			}
		})
		k.add(64, "R21")
		k.in("step", "R11")
		k.op("ADD R11, R4")
		k.in("stepD", "R11")
		k.op("ADD R11<<2, R5")
	})
	k.done()
}

// smlalE adds the lower (half 0) or upper four words of a times word i of b.
func (k *arm) smlalE(d, a, b, i, half int) {
	k.word(0x0f402000|uint32(half)<<30|uint32(i>>1&1)<<21|uint32(i&1)<<20|uint32(b)<<16|uint32(i>>2)<<11|uint32(a)<<5|uint32(d),
		"SMLAL half %d of V%d, V%d, V%d[%d]", half, d, a, b, i)
}
