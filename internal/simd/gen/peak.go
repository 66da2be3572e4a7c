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
	}
	return f
}
