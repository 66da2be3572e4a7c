package codec

import (
	"encoding/binary"
	"math"
	"testing"
)

// FuzzDecode decodes any bytes in any format. What comes out encodes again without harm, which is tried for a part: encoders search.
func FuzzDecode(f *testing.F) {
	names := Names()
	for i := range names {
		f.Add(uint8(i), []byte("0123456789abcdefghijklmnopqrstuvwxyz"))
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		c, err := Lookup(names[int(which)%len(names)])
		if err != nil {
			t.Fatal(err)
		}
		values, size := c.Block()
		n := min(len(data)/size, 4)
		if n == 0 {
			return
		}
		x := make([]float32, n*values)
		c.Decode(x, data[:n*size])
		if len(data)%8 > 0 {
			return
		}
		again := make([]byte, n*size)
		c.Encode(again, x, nil)
		c.Decode(x, again)
	})
}

// FuzzEncode encodes any floats with any importances. Finite ones of ordinary size come back within three times the stated
// bound: blocks are chosen by an adversary here.
func FuzzEncode(f *testing.F) {
	list := encoders(f)
	for i := range list {
		f.Add(uint8(i), []byte("the quick brown fox jumps over the lazy dog"), true)
		f.Add(uint8(i), []byte{0, 0, 128, 63, 0, 0, 128, 191}, false)
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte, weighed bool) {
		c := list[int(which)%len(list)]
		const n = 256
		x, w := make([]float32, n), make([]float32, n)
		ordinary := len(data) >= 4
		for i := range x {
			if len(data) >= 4 {
				at := 4 * i % (len(data) / 4 * 4)
				x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[at:]))
				w[i] = float32(data[i%len(data)]) + 1
			}
			if a := float64(abs(x[i])); !(a < 400) || a != 0 && a < 0.05 {
				ordinary = false
			}
		}
		if !weighed {
			w = nil
		}
		size, err := RowBytes(c, n)
		if err != nil {
			t.Fatal(err)
		}
		b, y := make([]byte, size), make([]float32, n)
		c.Encode(b, x, w)
		c.Decode(y, b)
		if bound, ok := bounds[c.Name()]; ok && ordinary && !weighed {
			if e := relative(x, y); e > 3*bound {
				t.Fatalf("%s: error %.4f of the largest magnitude, the bound is %.4f", c.Name(), e, bound)
			}
		}
	})
}
