package gen

// halfFile: weights of 16 bits.
func halfFile() *file {
	f := &file{name: "half", about: `
Matrices of float16 and bfloat16: 16 rows (a tile) by one or two columns in 32 or 64 bytes. One row of activations meets
up to four tiles at a time, so that several chains of multiply-adds and several streams of memory are on their way; each
chain is in the order of the columns, as in the float32 product. For several rows tiles are widened to float32 first.`}
	for _, v := range isas {
		for _, tiles := range []int{4, 1} {
			vecHalf(f, v, tiles)
			vecBrain(f, v, tiles)
		}
		widen(f, v)
	}
	return f
}

const vecFloatParams = "dst *float32, w *byte, step int, x *float32, k int, init int"

// beginVec loads the parameters: tiles at AX, AX+DX, AX+2DX and BX (3 DX further), and the sums of 16 rows a tile.
func beginVec(f *file, v isa, name string, tiles int) (k kernel, halves int) {
	k = newKernel(f, v, name, "", vecFloatParams, "")
	halves = 64 / v.bytes
	k.load("w", "AX")
	k.load("step", "DX")
	k.load("x", "SI")
	k.load("k", "CX")
	k.load("dst", "DI")
	k.op("LEAQ (AX)(DX*2), BX")
	k.op("ADDQ DX, BX")
	zero, ready := k.label("zero"), k.label("ready")
	k.op("CMPQ %s, $0", k.arg("init"))
	k.op("JEQ %s", zero)
	for i := range tiles * halves {
		k.op("VMOVUPS %d(DI), %s", i*v.bytes, v.r(i))
	}
	k.op("JMP %s", ready)
	k.at(zero)
	for i := range tiles * halves {
		k.zero(i)
	}
	k.at(ready)
	return k, halves
}

func (k kernel) endVec(n int) {
	for i := range n {
		k.op("VMOVUPS %s, %d(DI)", k.r(i), i*k.bytes)
	}
	k.ret()
}

// tileAddr is the address of tile j.
func tileAddr(j, disp int) string {
	o := tileOperand(j, disp)
	return third(o.base, o.index, o.times, o.disp)
}

// askTiles asks for the next lines of the tiles, disp bytes on. AVX2 CPUs bring more without being asked where there are four streams, and
// those with AMX no more if they are asked farther ahead.
func (k kernel) askTiles(tiles, disp int) {
	addr := func(ahead int) (a []string) {
		for j := range tiles {
			a = append(a, tileAddr(j, ahead+disp))
		}
		return a
	}
	switch {
	case k.isa == avx512 && tiles > 1:
		near := prefetches("PREFETCHT1", addr(prefetchL2))
		k.nearOrFar(near, func(ahead int) []string {
			if ahead == aheads[0] {
				return near
			}
			return prefetches("PREFETCHT0", addr(ahead))
		})
	case tiles == 1:
		k.ask(addr)
	}
}

func vecHalf(f *file, v isa, tiles int) {
	k, halves := beginVec(f, v, map[int]string{4: "vecF16x4", 1: "vecF16"}[tiles], tiles)
	for _, unroll := range []int{2, 1} { // columns
		k.loop("CX", unroll, func() {
			if unroll == 2 {
				k.askTiles(tiles, 0)
			}
			for u := range unroll {
				k.op("VBROADCASTSS %d(SI), %s", 4*u, v.r(15))
				for j := range tiles {
					for h := range halves {
						k.op("VCVTPH2PS %s, %s", tileAddr(j, 32*u+16*h), v.r(8+(j*halves+h)%6))
						k.op("VFMADD231PS %s, %s, %s", v.r(8+(j*halves+h)%6), v.r(15), v.r(j*halves+h))
					}
				}
			}
			k.op("ADDQ $%d, SI", 4*unroll)
			k.op("ADDQ $%d, AX", 32*unroll)
			k.op("ADDQ $%d, BX", 32*unroll)
		})
	}
	k.endVec(tiles * halves)
}

func vecBrain(f *file, v isa, tiles int) {
	k, halves := beginVec(f, v, map[int]string{4: "vecBF16x4", 1: "vecBF16"}[tiles], tiles)
	k.op("VPBROADCASTD %s, %s", f.const32(0xffff0000), v.r(13))
	last, end := k.label("last"), k.label("end")
	pair := func(odd bool) {
		k.op("VBROADCASTSS (SI), %s", v.r(15))
		if odd {
			k.op("VBROADCASTSS 4(SI), %s", v.r(14))
		}
		for j := range tiles {
			for h := range halves {
				sum, t := v.r(j*halves+h), 8+(j*halves+h)%2*2
				move := "VMOVDQU"
				if v == avx512 {
					move = "VMOVDQU32"
				}
				k.op("%s %s, %s", move, tileAddr(j, 32*h), v.r(t))
				k.op("VPSLLD $16, %s, %s", v.r(t), v.r(t+1))
				k.op("VFMADD231PS %s, %s, %s", v.r(t+1), v.r(15), sum)
				if odd {
					k.bits("AND", "%s, %s, %[2]s", v.r(13), v.r(t))
					k.op("VFMADD231PS %s, %s, %s", v.r(t), v.r(14), sum)
				}
			}
		}
	}
	k.loop("CX", 2, func() {
		k.askTiles(tiles, 0)
		pair(true)
		k.op("ADDQ $8, SI")
		k.op("ADDQ $64, AX")
		k.op("ADDQ $64, BX")
	})
	k.op("TESTQ CX, CX")
	k.op("JEQ %s", end)
	k.at(last)
	pair(false)
	k.at(end)
	k.endVec(tiles * halves)
}

// widen: k columns of a tile to float32, 16 values a column.
func widen(f *file, v isa) {
	k := newKernel(f, v, "widenF16", "", "dst *float32, w *byte, k int", "")
	k.load("dst", "DI")
	k.load("w", "SI")
	k.load("k", "CX")
	k.loop("CX", 1, func() {
		for h := range 64 / v.bytes {
			k.op("VCVTPH2PS %d(SI), %s", 16*h, v.r(h))
			k.op("VMOVUPS %s, %d(DI)", v.r(h), 32*h)
		}
		k.op("ADDQ $32, SI")
		k.op("ADDQ $64, DI")
	})
	k.ret()

	k = newKernel(f, v, "widenBF16", "", "dst *float32, w *byte, pairs int", "")
	k.load("dst", "DI")
	k.load("w", "SI")
	k.load("pairs", "CX")
	k.op("VPBROADCASTD %s, %s", f.const32(0xffff0000), v.r(13))
	k.loop("CX", 1, func() {
		for h := range 64 / v.bytes {
			k.op("VMOVUPS %d(SI), %s", 32*h, v.r(0))
			k.op("VPSLLD $16, %s, %s", v.r(0), v.r(1))
			k.bits("AND", "%s, %s, %[2]s", v.r(13), v.r(0))
			k.op("VMOVUPS %s, %d(DI)", v.r(1), 32*h)
			k.op("VMOVUPS %s, %d(DI)", v.r(0), 64+32*h)
		}
		k.op("ADDQ $64, SI")
		k.op("ADDQ $128, DI")
	})
	k.ret()
}
