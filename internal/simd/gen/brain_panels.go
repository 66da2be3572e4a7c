package gen

// brainPanelsFile is what attention in bfloat16 rounds: rows, and the keys and values of a page on their way into panels.
func brainPanelsFile() *file {
	f := &file{name: "brainpanels", about: `
Rows of bfloat16 and panels of pairs of it, made of other numbers, AVX512_BF16: see brains.go.`}
	brainRow(f)
	for _, format := range []string{"F32", "F16", "BF16"} {
		panelPairs(f, format)
	}
	bytePairs(f, "byteRowPairs", true)
	bytePairs(f, "byteColumnPairs", false)
	return f
}

// wordOrder loads the order in which VPERMW takes words of the lower half of a register and those of the upper in turns.
func (k kernel) wordOrder(reg int) {
	var order [16]uint32
	for i := range order {
		order[i] = uint32(16+i)<<16 | uint32(i)
	}
	name := "wordOrder_" + k.file.name
	k.file.datum(name, order[:])
	k.op("VMOVDQU64 %s<>(SB), %s", name, k.r(reg))
}

// brainPair stores the pairs of bfloat16 that registers lo and hi become.
func (k kernel) brainPair(lo, hi int, to string) {
	k.brainRound(lo, hi, lo)
	k.op("VPERMW %s, Z24, %[1]s", k.r(lo))
	k.op("VMOVDQU32 %s, %s", k.r(lo), to)
}

// brainRow rounds 32 floats at a time.
func brainRow(f *file) {
	k := kernel{f.newFn("brainRow", "brainRow rounds n values, a multiple of 32, to bfloat16.", "dst *byte, src *float32, n int", ""), avx512}
	k.load("dst", "DI")
	k.load("src", "SI")
	k.load("n", "CX")
	for _, unroll := range []int{4, 1} {
		k.loop("CX", 32*unroll, func() {
			for u := range unroll {
				k.op("VMOVUPS %d(SI), Z%d", 128*u, 2*u)
				k.op("VMOVUPS %d(SI), Z%d", 128*u+64, 2*u+1)
				k.brainRound(2*u, 2*u+1, 2*u)
				k.op("VMOVDQU32 Z%d, %d(DI)", 2*u, 64*u)
			}
			k.op("ADDQ $%d, SI", 128*unroll)
			k.op("ADDQ $%d, DI", 64*unroll)
		})
	}
	k.ret()
}

// panelParams: see panelPairs.
const panelParams = "dst *byte, apart int, src *byte, step int, between int, pairs int, panels int, ahead int"

// panelPairs makes pairs of rows 2i and 2i+1 of values of 16 or 32 bits, step bytes apart, panel by panel of 16 columns, which lie between bytes
// apart here and apart bytes there. The next thing to be read is ahead bytes further. Registers: DI and SI are at the pair, R10, R11 and BX at those of a
// panel, whose second row is at BX, R13 at what is asked for.
func panelPairs(f *file, format string) {
	k := kernel{f.newFn("panelPairs"+format, "", panelParams, ""), avx512}
	k.wordOrder(24)
	k.load("dst", "DI")
	k.load("apart", "R8")
	k.load("src", "SI")
	k.load("step", "DX")
	k.load("between", "R9")
	k.load("pairs", "CX")
	size := 2
	if format == "F32" {
		size = 4
	}
	k.loop("CX", 1, func() {
		k.op("MOVQ DI, R10")
		k.op("MOVQ SI, R11")
		k.op("LEAQ (SI)(DX*1), BX")
		k.load("ahead", "R13")
		k.op("ADDQ SI, R13")
		k.load("panels", "R12")
		for _, unroll := range []int{4, 1} {
			k.loop("R12", unroll, func() {
				for u := range unroll {
					for line := range 2 * size / 4 {
						k.op("PREFETCHT0 %d(R13)", (2*size*u/4+line)*64)
					}
					lo, hi := 2*u, 2*u+1
					switch format {
					case "F32":
						k.op("VMOVUPS (R11), %s", k.r(lo))
						k.op("VMOVUPS (BX), %s", k.r(hi))
						k.brainPair(lo, hi, "(R10)")
					case "F16":
						k.op("VCVTPH2PS (R11), %s", k.r(lo))
						k.op("VCVTPH2PS (BX), %s", k.r(hi))
						k.brainPair(lo, hi, "(R10)")
					default:
						k.op("VMOVDQU (R11), Y%d", lo)
						k.op("VINSERTI64X4 $1, (BX), %s, %[1]s", k.r(lo))
						k.op("VPERMW %s, Z24, %[1]s", k.r(lo))
						k.op("VMOVDQU32 %s, (R10)", k.r(lo))
					}
					k.op("ADDQ R9, R11")
					k.op("ADDQ R9, BX")
					k.op("ADDQ R8, R10")
				}
				k.op("ADDQ $%d, R13", 32*size*unroll)
			})
		}
		k.op("LEAQ (SI)(DX*2), SI")
		k.op("ADDQ $64, DI")
	})
	k.ret()
}

// bytePairs dequantizes bytes that lie in pairs as pairs of bfloat16: rows says that a scale belongs to a row, two to each pair, in place of
// 16 to the columns.
func bytePairs(f *file, name string, rows bool) {
	doc := name + " makes pairs of bfloat16 of rows 2i and 2i+1 of 16 bytes, whose bytes lie in pairs, times a scale for each column."
	if rows {
		doc = name + " makes pairs of bfloat16 of rows 2i and 2i+1 of 16 bytes, whose bytes lie in pairs, times a scale for each row."
	}
	k := kernel{f.newFn(name, doc, "dst *byte, src *int8, scales *float32, pairs int", ""), avx512}
	k.wordOrder(24)
	k.load("dst", "DI")
	k.load("src", "SI")
	k.load("scales", "R8")
	k.load("pairs", "CX")
	lo, hi := "Z20", "Z20"
	if !rows {
		k.op("VMOVUPS (R8), Z20")
	} else {
		hi = "Z21"
	}
	k.loop("CX", 1, func() {
		if rows {
			k.op("VBROADCASTSS (R8), Z20")
			k.op("VBROADCASTSS 4(R8), Z21")
			k.op("ADDQ $8, R8")
		}
		k.op("VPMOVSXBW (SI), Z1")
		k.op("VPSLLD $16, Z1, Z0")
		k.op("VPSRAD $16, Z0, Z0")
		k.op("VPSRAD $16, Z1, Z1")
		k.op("VCVTDQ2PS Z0, Z0")
		k.op("VCVTDQ2PS Z1, Z1")
		k.op("VMULPS %s, Z0, Z0", lo)
		k.op("VMULPS %s, Z1, Z1", hi)
		k.brainPair(0, 1, "(DI)")
		k.op("ADDQ $32, SI")
		k.op("ADDQ $64, DI")
	})
	k.ret()
}
