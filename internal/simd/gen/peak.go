package gen

func peakFile() *file {
	f := &file{name: "peak", about: `
Loops on registers alone: what the machine could do if memory were free.`}
	for _, v := range isas {
		g := f.newFn("peakFMA"+v.name, "peakFMA"+v.name+" runs n rounds of 12 independent vector multiply-adds.", "n int", "")
		g.load("n", "CX")
		for i := range 14 {
			g.op("VXORPS X%d, X%[1]d, X%[1]d", i)
		}
		g.loop("CX", 1, func() {
			for i := range 12 {
				g.op("VFMADD231PS %s, %s, %s", v.r(12), v.r(13), v.r(i))
			}
		})
		g.ret()

		g = f.newFn("read"+v.name, "read"+v.name+" loads n times 256 bytes and does nothing with them.", "p *byte, n int", "")
		g.load("p", "SI")
		g.load("n", "CX")
		if v == avx2 {
			readStreams(g, v)
			continue
		}
		g.loop("CX", 1, func() {
			kernel{g, v}.ask(lines("SI", 256))
			for i := 0; i < 256; i += v.bytes {
				g.op("VMOVUPS %d(SI), %s", i, v.r(i/v.bytes))
			}
			g.op("ADDQ $256, SI")
		})
		g.ret()
	}
	return f
}

// readStreams reads the four quarters of the memory at once: more than that brings no more, and asking for lines ahead brings
// less (docs/performance.md).
func readStreams(g *fn, v isa) {
	g.op("MOVQ CX, DX")
	g.op("SHLQ $6, DX")
	g.op("LEAQ (SI)(DX*2), DI")
	g.op("ADDQ DX, DI")
	g.loop("CX", 1, func() {
		for j := range 4 {
			for h := range 2 {
				if j == 3 {
					g.op("VMOVUPS %d(DI), %s", 32*h, v.r(2*j+h))
				} else {
					g.op("VMOVUPS %s, %s", third("SI", "DX", j, 32*h), v.r(2*j+h))
				}
			}
		}
		g.op("ADDQ $64, SI")
		g.op("ADDQ $64, DI")
	})
	g.ret()
}
