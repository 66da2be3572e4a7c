package simd

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// nearest returns which of the finite 16-bit numbers is nearest to f, ties to even: the meaning of rounding, by search.
func nearest(f float64, value func(uint16) float64, maxBits uint16) uint16 {
	lo, hi := uint16(0), maxBits // bits of positive numbers grow with the value
	for lo < hi {
		mid := lo + (hi-lo+1)/2
		if value(mid) <= f {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	below, above := value(lo), value(lo+1)
	if math.IsInf(above, 0) { // beyond the largest number rounding goes as if there were one more
		above = 2*below - value(lo-1)
	}
	switch d := (f - below) - (above - f); {
	case d > 0 || d == 0 && lo&1 == 1:
		return lo + 1
	}
	return lo
}

func half64(h uint16) float64 {
	e, m := int(h>>10&31), float64(h&0x3ff)
	switch e {
	case 31:
		return math.Inf(1)
	case 0:
		return math.Ldexp(m, -24)
	}
	return math.Ldexp(1024+m, e-25)
}

func brain64(h uint16) float64 { return float64(math.Float32frombits(uint32(h) << 16)) }

// Every 16-bit pattern widens to its value, and every one comes back.
func TestWidenAll(t *testing.T) {
	src := make([]byte, 2<<16)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(src[2*i:], uint16(i))
	}
	dst, back := make([]float32, 1<<16), make([]byte, 2<<16)
	everyImplementation(t, func(t *testing.T) {
		for _, c := range []struct {
			name   string
			widen  func([]float32, []byte)
			narrow func([]byte, []float32)
			value  func(uint16) float64
			inf    uint16
			quiet  uint16
		}{{"f16", F16ToF32, F32ToF16, half64, 0x7c00, 0x200}, {"bf16", BF16ToF32, F32ToBF16, brain64, 0x7f80, 0}} {
			c.widen(dst, src)
			c.narrow(back, dst)
			for i, v := range dst {
				h := uint16(i)
				want := c.value(h & 0x7fff)
				nan := h&0x7fff > c.inf
				switch {
				case nan && v == v, !nan && math.Abs(float64(v)) != want, !nan && math.Signbit(float64(v)) != (h>>15 == 1):
					t.Fatalf("%s %#x is %v, want %v", c.name, h, v, want)
				}
				got := binary.LittleEndian.Uint16(back[2*i:])
				if nan { // quiet, with its sign and payload
					if got != h|c.quiet && got != h|0x40 {
						t.Fatalf("%s NaN %#x comes back as %#x", c.name, h, got)
					}
				} else if got != h {
					t.Fatalf("%s %#x comes back as %#x", c.name, h, got)
				}
			}
		}
	})
}

func TestNarrow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var src []float32
	for range 200000 {
		src = append(src, math.Float32frombits(r.Uint32()))
	}
	for range 200000 { // around the range of half precision, ties included
		f := float32(math.Ldexp(1+float64(r.IntN(1<<13))/(1<<13), r.IntN(45)-27))
		src = append(src, f, -f, math.Nextafter32(f, 0), math.Nextafter32(f, 1e9))
	}
	src = append(src, 0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), 65504, 65519, 65520, 65536, math.MaxFloat32)
	dst := make([]byte, 2*len(src))
	everyImplementation(t, func(t *testing.T) {
		for _, c := range []struct {
			name   string
			narrow func([]byte, []float32)
			value  func(uint16) float64
			inf    uint16
		}{{"f16", F32ToF16, half64, 0x7c00}, {"bf16", F32ToBF16, brain64, 0x7f80}} {
			c.narrow(dst, src)
			for i, f := range src {
				got := binary.LittleEndian.Uint16(dst[2*i:])
				sign := uint16(math.Float32bits(f)>>31) << 15
				var want uint16
				switch {
				case f != f:
					if got&0x7fff <= c.inf || got>>15 != sign>>15 {
						t.Fatalf("%s of NaN %#x: %#x", c.name, math.Float32bits(f), got)
					}
					continue
				case math.IsInf(float64(f), 0):
					want = c.inf
				default:
					want = nearest(math.Abs(float64(f)), c.value, c.inf-1)
				}
				if got != sign|want {
					t.Fatalf("%s of %v (%#x): %#x, want %#x", c.name, f, math.Float32bits(f), got, sign|want)
				}
			}
		}
	})
}

// The implementations agree bit for bit, on any length, without touching what is not theirs.
func TestConvertLengths(t *testing.T) {
	a, b := newArena(t, 1), newArena(t, 1)
	bytesOf := func(x *arena, n, width, o int) []byte {
		for i := range x.b {
			x.b[i] = 0xA5
		}
		if o < 0 {
			o = len(x.b) - n*width
		}
		return x.b[o : o+n*width : o+n*width]
	}
	clean := func(x *arena, n, width, o int) bool {
		if o < 0 {
			o = len(x.b) - n*width
		}
		for i, v := range x.b {
			if v != 0xA5 && (i < o || i >= o+n*width) {
				return false
			}
		}
		return true
	}
	r := rand.New(rand.NewPCG(9, 9))
	everyImplementation(t, func(t *testing.T) {
		lengths(func(n, o int) {
			src := bytesOf(a, n, 2, o) // any byte offset
			for i := range src {
				src[i] = byte(r.Uint32())
			}
			for name, f := range map[string][2]func([]float32, []byte){"f16": {F16ToF32, halvesGeneric}, "bf16": {BF16ToF32, brainsGeneric}} {
				dst, want := b.place(n, o), make([]float32, n)
				f[0](dst, src)
				f[1](want, src)
				b.check(name, n, o)
				for i := range want {
					if math.Float32bits(want[i]) != math.Float32bits(dst[i]) {
						t.Fatalf("%s n=%d: [%d] %#x, want %#x", name, n, i, math.Float32bits(dst[i]), math.Float32bits(want[i]))
					}
				}
			}
			x := b.place(n, o)
			for i := range x {
				x[i] = math.Float32frombits(r.Uint32())
			}
			for name, f := range map[string]struct {
				run  func([]byte, []float32)
				each func(float32) uint16
			}{"to f16": {F32ToF16, floatToHalf}, "to bf16": {F32ToBF16, floatToBrain}} {
				dst := bytesOf(a, n, 2, o)
				f.run(dst, x)
				if !clean(a, n, 2, o) {
					t.Fatalf("%s n=%d offset %d: wrote outside", name, n, o)
				}
				for i, v := range x {
					if got, want := binary.LittleEndian.Uint16(dst[2*i:]), f.each(v); got != want {
						t.Fatalf("%s n=%d: %#x gives %#x, want %#x", name, n, math.Float32bits(v), got, want)
					}
				}
			}
			raw := bytesOf(a, n, 4, o)
			StoreF32(raw, x)
			back := make([]float32, n)
			LoadF32(back, raw)
			for i := range x {
				if binary.LittleEndian.Uint32(raw[4*i:]) != math.Float32bits(x[i]) || math.Float32bits(back[i]) != math.Float32bits(x[i]) {
					t.Fatalf("n=%d: float32 %d did not come back", n, i)
				}
			}
			if !clean(a, n, 4, o) {
				t.Fatalf("StoreF32 n=%d offset %d: wrote outside", n, o)
			}
		})
	})
}

func halvesGeneric(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = halfToFloat(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

func brainsGeneric(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

func TestViews(t *testing.T) {
	b := make([]byte, 64)
	for i := range b {
		b[i] = byte(i)
	}
	if f, ok := Float32s(b[4:15]); !ok || len(f) != 2 || math.Float32bits(f[1]) != binary.NativeEndian.Uint32(b[8:]) {
		t.Errorf("Float32s: %v %v", f, ok)
	}
	if _, ok := Float32s(b[2:10]); ok {
		t.Error("Float32s of an odd address")
	}
	if h, ok := Uint16s(b[2:9]); !ok || len(h) != 3 || h[2] != binary.NativeEndian.Uint16(b[6:]) {
		t.Errorf("Uint16s: %v %v", h, ok)
	}
	if _, ok := Uint16s(b[1:9]); ok {
		t.Error("Uint16s of an odd address")
	}
	if f, ok := Float32s(nil); !ok || len(f) != 0 {
		t.Error("Float32s of nothing")
	}
}

func BenchmarkConvert(b *testing.B) {
	x, raw := make([]float32, 1<<14), make([]byte, 4<<14)
	for i := range x {
		x[i] = float32(i) - 7000
	}
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"F16ToF32", func() { F16ToF32(x, raw[:2<<14]) }}, {"F32ToF16", func() { F32ToF16(raw[:2<<14], x) }},
		{"BF16ToF32", func() { BF16ToF32(x, raw[:2<<14]) }}, {"F32ToBF16", func() { F32ToBF16(raw[:2<<14], x) }},
		{"LoadF32", func() { LoadF32(x, raw) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(4 << 14)
			for b.Loop() {
				c.run()
			}
		})
	}
}
