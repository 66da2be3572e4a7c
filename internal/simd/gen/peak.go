package gen

import "fmt"

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
			readStreams(kernel{g, v}, 0)
			continue
		}
		one := g.label("one")
		g.op("CMPB ·askAhead(SB), $1")
		g.op("JNE %s", one)
		readStreams(kernel{g, v}, 512)
		g.at(one)
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

// readStreams reads the four quarters of the memory at once: more than that brings no more. Where ahead is not 0 it asks for lines so many bytes
// ahead, which brings more or less, according to the CPU (docs/performance.md).
func readStreams(k kernel, ahead int) {
	g, v := k.fn, k.isa
	g.op("MOVQ CX, DX")
	g.op("SHLQ $6, DX")
	g.op("LEAQ (SI)(DX*2), DI")
	g.op("ADDQ DX, DI")
	g.loop("CX", 1, func() {
		for j := range 4 {
			at := func(disp int) string {
				if j == 3 {
					return fmt.Sprintf("%d(DI)", disp)
				}
				return third("SI", "DX", j, disp)
			}
			if ahead > 0 {
				g.op("PREFETCHT0 %s", at(ahead))
			}
			for h := range 64 / v.bytes {
				g.op("VMOVUPS %s, %s", at(v.bytes*h), v.r(2*j+h))
			}
		}
		g.op("ADDQ $64, SI")
		g.op("ADDQ $64, DI")
	})
	g.ret()
}
