package codec

import (
	"math"
	"testing"
)

// TestHalf checks every half against a conversion by arithmetic, and rounding at every midpoint.
func TestHalf(t *testing.T) {
	slow := func(h uint16) float64 {
		sign := 1.0
		if h&0x8000 != 0 {
			sign = -1
		}
		exp, frac := int(h>>10&0x1f), float64(h&0x3ff)
		switch exp {
		case 0:
			return sign * math.Ldexp(frac, -24)
		case 31:
			if frac != 0 {
				return math.NaN()
			}
			return sign * math.Inf(1)
		}
		return sign * math.Ldexp(1024+frac, exp-25)
	}
	for i := range 1 << 16 {
		h := uint16(i)
		want, got := slow(h), F16ToF32(h)
		if math.IsNaN(want) {
			if got == got || F32ToF16(got)&0x7c00 != 0x7c00 || F32ToF16(got)&0x3ff == 0 {
				t.Fatalf("half %#04x: NaN became %v -> %#04x", h, got, F32ToF16(got))
			}
			continue
		}
		if float64(got) != want || F32ToF16(got) != h {
			t.Fatalf("half %#04x: got %v -> %#04x, want %v", h, got, F32ToF16(got), want)
		}
		if h&0x7fff >= 0x7bff {
			continue
		}
		mid := float32((want + slow(h+1)) / 2) // exact: one more bit than a half
		even := h
		if h&1 == 1 {
			even = h + 1
		}
		if r := F32ToF16(mid); r != even {
			t.Fatalf("midpoint above %#04x rounds to %#04x, want %#04x", h, r, even)
		}
		if r := F32ToF16(math.Nextafter32(mid, float32(slow(h+1)))); r != h+1 {
			t.Fatalf("just above the midpoint of %#04x rounds to %#04x", h, r)
		}
	}
	if F32ToF16(65520) != 0x7c00 || F32ToF16(65519.996) != 0x7bff {
		t.Error("overflow border of half is not 65520")
	}
}

func TestBF16(t *testing.T) {
	for _, c := range []struct {
		in   float32
		want uint16
	}{{1, 0x3f80}, {1.00390625, 0x3f80}, {1.01171875, 0x3f82}, {float32(math.Inf(-1)), 0xff80}, {math.MaxFloat32, 0x7f80}, {0, 0}} {
		if got := F32ToBF16(c.in); got != c.want {
			t.Errorf("bf16(%v) = %#04x, want %#04x", c.in, got, c.want)
		}
	}
	if got := F32ToBF16(math.Float32frombits(0x7f800001)); got&0x7f == 0 {
		t.Errorf("a NaN whose payload sits in the low bits became infinity: %#04x", got)
	}
}
