package gen

// Bytes of a key/value cache become floats.
func cacheFile() *file {
	f := &file{name: "cache", about: `
Quantized keys and values become float32.`}
	for _, v := range isas {
		n := 16 / v.lanes() // vectors of 16 values
		k := kernel{f.newFn("scalePanel"+v.name, "", "dst *float32, q *int8, d *float32, n int", ""), v}
		k.load("dst", "DI")
		k.load("q", "SI")
		k.load("d", "DX")
		k.load("n", "CX")
		for h := range n {
			k.op("VMOVUPS %d(DX), %s", h*v.bytes, v.r(4+h))
		}
		k.loop("CX", 1, func() {
			for h := range n {
				k.op("VPMOVSXBD %d(SI), %s", h*v.lanes(), v.r(h))
				k.op("VCVTDQ2PS %s, %[1]s", v.r(h))
				k.op("VMULPS %s, %s, %[2]s", v.r(4+h), v.r(h))
				k.op("VMOVUPS %s, %d(DI)", v.r(h), h*v.bytes)
			}
			k.op("ADDQ $16, SI")
			k.op("ADDQ $64, DI")
		})
		k.ret()

		k = kernel{f.newFn("scaleBlocks"+v.name, "", "dst *float32, q *int8, d *float32, n int", ""), v}
		k.load("dst", "DI")
		k.load("q", "SI")
		k.load("d", "DX")
		k.load("n", "CX")
		k.loop("CX", 1, func() {
			k.op("VBROADCASTSS (DX), %s", v.r(4))
			for h := range 2 * n {
				k.op("VPMOVSXBD %d(SI), %s", h*v.lanes(), v.r(h%4))
				k.op("VCVTDQ2PS %s, %[1]s", v.r(h%4))
				k.op("VMULPS %s, %s, %[2]s", v.r(4), v.r(h%4))
				k.op("VMOVUPS %s, %d(DI)", v.r(h%4), h*v.bytes)
			}
			k.op("ADDQ $4, DX")
			k.op("ADDQ $32, SI")
			k.op("ADDQ $128, DI")
		})
		k.ret()
	}
	return f
}
