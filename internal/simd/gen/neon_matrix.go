package gen

import "fmt"

// Products of float32 and of 16-bit weights, packing, conversions, peak rates: see gemm.go, half.go, pack.go, convert.go.

// armGemm writes the register tiles, in the shapes of AVX2: a panel of 16 columns is four vectors.
func armGemm(f *file) {
	for _, s := range gemmShapes(avx2) {
		armTile(f, s[0], s[1])
	}
	armPack(f)
	armPeak(f)
}

// armTile: registers hold the sums, then what is read. Rows of A at R0 to R5, panels of B at R11 to R14.
func armTile(f *file, rows, panels int) {
	k := newArm(f, fmt.Sprintf("gemm%dx%dNEON", rows, panels), "", "c *float32, ldc int, a *float32, ars int, acs int, b *float32, bps int, bst int, k int, init int", "")
	vecs := 4 * panels
	acc := func(i, j int) int { return i*vecs + j }
	free := rows * vecs
	a := func(i int) string { return fmt.Sprintf("R%d", i) }
	b := func(p int) string { return fmt.Sprintf("R%d", 11+p) }
	k.in("a", a(0))
	k.in("ars", "R6")
	k.in("acs", "R7")
	k.in("b", b(0))
	k.in("bps", "R15")
	k.in("bst", "R16")
	k.in("k", "R8")
	for i := 1; i < rows; i++ {
		k.op("ADD R6, %s, %s", a(i-1), a(i))
	}
	for p := 1; p < panels; p++ {
		k.op("ADD R15, %s, %s", b(p-1), b(p))
	}
	k.armC(rows, vecs, acc, true)
	k.repeat("R8", 1, func() {
		for i := range rows {
			k.lds(a(i), 0, free+i)
			k.op("ADD R7, %s, %[1]s", a(i))
		}
		spare := 32 - free - rows
		for j := range vecs {
			t := free + rows + j%spare
			k.ldq(b(j/4), 16*(j%4), t)
			for i := range rows {
				k.fmlaE(acc(i, j), t, free+i, 0)
			}
		}
		for p := range panels {
			k.op("ADD R16, %s, %[1]s", b(p))
		}
	})
	k.armC(rows, vecs, acc, false)
	k.done()
}

// armC loads the sums from C, or zeroes them where init is 0, or stores them.
func (k *arm) armC(rows, vecs int, acc func(i, j int) int, load bool) {
	k.in("c", "R9")
	k.in("ldc", "R10")
	each := func(do func(i, j int)) {
		for i := range rows {
			for j := range vecs {
				do(i, j)
			}
			if i+1 < rows {
				k.op("ADD R10<<2, R9, R9")
			}
		}
	}
	if !load {
		each(func(i, j int) { k.stq(acc(i, j), "R9", 16*j) })
		return
	}
	zero, ready := k.label("zero"), k.label("ready")
	k.in("init", "R17")
	k.op("CBZ R17, %s", zero)
	each(func(i, j int) { k.ldq("R9", 16*j, acc(i, j)) })
	k.op("B %s", ready)
	k.at(zero)
	for v := range rows * vecs {
		k.zero(v)
	}
	k.at(ready)
}

func armPack(f *file) {
	k := newArm(f, "packRows16", "copies 16 values of each of k rows that lie stride bytes apart.", "dst *float32, src *float32, stride int, k int", "")
	k.inAll("dst", "src", "stride", "k")
	k.repeat("R3", 1, func() {
		for j := range 4 {
			k.ldq("R1", 16*j, j)
		}
		for j := range 4 {
			k.stq(j, "R0", 16*j)
		}
		k.op("ADD R2, R1, R1")
		k.add(64, "R0")
	})
	k.done()

	k = newArm(f, "packCols16", "transposes 16 rows that lie stride bytes apart:\ndst[l*16+j] = src[j][l] for l < k, k a multiple of 8.", "dst *float32, src *float32, stride int, k int", "")
	k.inAll("dst", "src", "stride", "k")
	k.repeat("R3", 4, func() {
		k.op("MOVD R1, R4")
		for q := range 4 { // rows 4q to 4q+3
			for r := range 4 {
				k.ldq("R4", 0, r)
				k.op("ADD R2, R4, R4")
			}
			k.v3("ZIP1", 4, 0, 2) // 0a 2a 0b 2b
			k.v3("ZIP2", 5, 0, 2)
			k.v3("ZIP1", 6, 1, 3)
			k.v3("ZIP2", 7, 1, 3)
			for c := range 4 {
				k.v3(fmt.Sprintf("ZIP%d", 1+c%2), 16+c, 4+c/2, 6+c/2)
				k.stq(16+c, "R0", 64*c+16*q)
			}
		}
		k.add(16, "R1")
		k.add(256, "R0")
	})
	k.done()

	rows := gemmShapes(avx2)[0][0]
	k = newArm(f, "packNarrowVector", fmt.Sprintf("copies n <= %d values, padded with zeros to %[1]d, of each of k rows that lie stride bytes apart.", rows),
		"dst *float32, src *float32, stride int, k int, n int", "")
	k.inAll("dst", "src", "stride", "k", "n")
	k.repeat("R3", 1, func() {
		k.op("MOVD R1, R5")
		k.op("MOVD R0, R6")
		k.op("MOVD R4, R7")
		k.op("MOVD $%d, R8", rows)
		k.op("SUB R4, R8, R8")
		k.repeat("R7", 1, func() {
			k.op("MOVWU.P 4(R5), R9")
			k.op("MOVW.P R9, 4(R6)")
		})
		k.repeat("R8", 1, func() { k.op("MOVW.P ZR, 4(R6)") })
		k.op("ADD R2, R1, R1")
		k.add(4*rows, "R0")
	})
	k.done()
}

func armPeak(f *file) {
	k := newArm(f, "peakFMAVector", "runs n rounds of 12 independent vector multiply-adds.", "n int", "")
	k.in("n", "R0")
	for v := range 14 {
		k.zero(v)
	}
	k.repeat("R0", 1, func() {
		for v := range 12 {
			k.v3("FMLA", v, 12, 13)
		}
	})
	k.done()

	k = newArm(f, "readVector", "loads n times 256 bytes and does nothing with them.", "p *byte, n int", "")
	k.inAll("p", "n")
	k.repeat("R1", 1, func() {
		for i := range 16 {
			k.ldq("R0", 16*i, i)
		}
		k.add(256, "R0")
	})
	k.done()
}

// armHalf: products of one row with tiles of 16-bit weights, and their widening.
func armHalf(f *file) {
	for _, tiles := range []int{4, 1} {
		suffix := map[int]string{4: "x4", 1: ""}[tiles]
		armVecHalf(f, "vecF16"+suffix+"Vector", tiles, false)
		armVecHalf(f, "vecBF16"+suffix+"Vector", tiles, true)
	}
	k := newArm(f, "widenF16Vector", "", "dst *float32, w *byte, k int", "")
	k.inAll("dst", "w", "k")
	k.repeat("R2", 1, func() {
		k.halves("R1")
		for h := range 4 {
			k.stq(2+h, "R0", 16*h)
		}
		k.add(32, "R1")
		k.add(64, "R0")
	})
	k.done()

	k = newArm(f, "widenBF16Vector", "", "dst *float32, w *byte, pairs int", "")
	k.inAll("dst", "w", "pairs")
	k.bits(0xffff0000, 31)
	k.repeat("R2", 1, func() {
		for h := range 4 {
			k.ldq("R1", 16*h, h)
			k.shl(32, 16, 4+h, h)
			k.v3("AND", h, h, 31)
			k.stq(4+h, "R0", 16*h)
			k.stq(h, "R0", 64+16*h)
		}
		k.add(64, "R1")
		k.add(128, "R0")
	})
	k.done()
}

// halves widens 16 halves at base to registers 2 to 5, using 0 and 1.
func (k *arm) halves(base string) {
	k.ldq(base, 0, 0)
	k.ldq(base, 16, 1)
	k.v2("FCVTL", 2, 0)
	k.v2("FCVTL2", 3, 0)
	k.v2("FCVTL", 4, 1)
	k.v2("FCVTL2", 5, 1)
}

// armVecHalf: sums of up to 4 tiles in registers 16 to 31. Tile j is at R1 + j*R2.
func armVecHalf(f *file, name string, tiles int, brain bool) {
	k := newArm(f, name, "", vecFloatParams, "")
	k.in("dst", "R0")
	k.in("w", "R1")
	k.in("step", "R2")
	k.in("x", "R3")
	k.in("k", "R4")
	base := []string{"R1", "R5", "R6", "R7"}
	for j := 1; j < tiles; j++ {
		k.op("ADD R2, %s, %s", base[j-1], base[j])
	}
	k.startVec(4 * tiles)
	if brain {
		k.vecBrain(base[:tiles])
	} else {
		k.repeat("R4", 1, func() {
			k.lds("R3", 0, 6)
			for j, b := range base[:tiles] {
				k.halves(b)
				for h := range 4 {
					k.fmlaE(16+4*j+h, 2+h, 6, 0)
				}
				k.add(32, b)
			}
			k.add(4, "R3")
		})
	}
	for i := range 4 * tiles {
		k.stq(16+i, "R0", 16*i)
	}
	k.done()
}

// startVec loads n sums from R0 to the registers from 16 on, or zeroes them where init is 0.
func (k *arm) startVec(n int) {
	zero, ready := k.label("zero"), k.label("ready")
	k.in("init", "R8")
	k.op("CBZ R8, %s", zero)
	for i := range n {
		k.ldq("R0", 16*i, 16+i)
	}
	k.op("B %s", ready)
	k.at(zero)
	for i := range n {
		k.zero(16 + i)
	}
	k.at(ready)
}

// vecBrain: two columns lie together, in the lower and the upper half of a word.
func (k *arm) vecBrain(base []string) {
	k.bits(0xffff0000, 8)
	pair := func(odd bool) {
		k.lds("R3", 0, 6)
		if odd {
			k.lds("R3", 4, 7)
		}
		for j, b := range base {
			for h := range 4 {
				k.ldq(b, 16*h, h)
				k.shl(32, 16, 4, h)
				k.fmlaE(16+4*j+h, 4, 6, 0)
				if odd {
					k.v3("AND", h, h, 8)
					k.fmlaE(16+4*j+h, h, 7, 0)
				}
			}
			k.add(64, b)
		}
		k.add(8, "R3")
	}
	k.repeat("R4", 2, func() { pair(true) })
	end := k.label("end")
	k.op("CBZ R4, %s", end)
	pair(false)
	k.at(end)
}

// armSixteen writes a loop over 16 values at a time, from R1 to R0; begin may load constants.
func armSixteen(f *file, name, doc, params string, from, to int, begin, body func(k *arm)) {
	k := newArm(f, name, doc, params, "")
	k.inAll("dst", "src", "n")
	if begin != nil {
		begin(k)
	}
	k.repeat("R2", 16, func() {
		body(k)
		k.add(from, "R1")
		k.add(to, "R0")
	})
	k.done()
}

func armConvert(f *file) {
	sixteen := func(name, doc, params string, from, to int, begin, body func(k *arm)) {
		armSixteen(f, name, doc, params, from, to, begin, body)
	}
	load := func(k *arm, n int) {
		for i := range n {
			k.ldq("R1", 16*i, i)
		}
	}
	store := func(k *arm, v, n int) {
		for i := range n {
			k.stq(v+i, "R0", 16*i)
		}
	}
	const widen, narrow = "dst *float32, src *byte, n int", "dst *byte, src *float32, n int"
	sixteen("f16ToF32", "widens n half-precision numbers.", widen, 32, 64, nil, func(k *arm) {
		k.halves("R1")
		store(k, 2, 4)
	})
	sixteen("f32ToF16", "rounds n numbers to half precision, to nearest even.", narrow, 64, 32, nil, func(k *arm) {
		load(k, 4)
		for i := range 2 {
			k.v2("FCVTN", 4+i, 2*i)
			k.v2("FCVTN2", 4+i, 2*i+1)
		}
		store(k, 4, 2)
	})
	sixteen("bf16ToF32", "widens n bfloat16 numbers.", widen, 32, 64, func(k *arm) { k.zero(31) }, func(k *arm) {
		load(k, 2)
		for i := range 2 {
			k.v3("ZIP1.8H", 4+2*i, 31, i)
			k.v3("ZIP2.8H", 5+2*i, 31, i)
		}
		store(k, 4, 4)
	})
	sixteen("f32ToBF16", "rounds n numbers to bfloat16, to nearest even; a NaN gets its quiet bit.", narrow, 64, 32, func(k *arm) {
		k.bits(0x7fff, 31)
		k.bits(1, 30)
		k.bits(0x400000, 29)
	}, func(k *arm) {
		load(k, 4)
		for i := range 4 {
			k.ushr(32, 16, 4, i)
			k.v3("AND", 4, 4, 30)
			k.v3("ADD", 4, 4, 31)
			k.v3("ADD", 4, 4, i)
			k.v3("ORR", 5, i, 29)
			k.v3("FCMEQ", 6, i, i) // not NaN
			k.v3("BSL", 6, 4, 5)
			k.v2([]string{"SHRN16.4H", "SHRN216.8H"}[i%2], 16+i/2, 6)
		}
		store(k, 16, 2)
	})
	for _, m := range [][3]string{{"loadF32", "copies n float32 from bytes.", widen}, {"storeF32", "copies n float32 to bytes.", narrow}} {
		sixteen(m[0], m[1], m[2], 64, 64, nil, func(k *arm) {
			load(k, 4)
			store(k, 0, 4)
		})
	}
}
