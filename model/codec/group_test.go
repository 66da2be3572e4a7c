package codec

import (
	"bufio"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// TestGroupGolden compares round to nearest with the reference quantizer's values.
func TestGroupGolden(t *testing.T) {
	w := readFloats(t, "testdata/group/w.f32")
	f, err := os.Open("testdata/group/sums.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		field := strings.Fields(s.Text())
		if field[0] == "#" {
			continue
		}
		n++
		c, err := Lookup(field[0])
		if err != nil {
			t.Fatal(err)
		}
		values := make([]float32, len(w))
		c.Decode(values, encodeRows(c, w, nil, 128))
		if sum(floatBytes(values)) != field[1] {
			t.Errorf("%s: other values than the reference", field[0])
		}
	}
	if n != 4 {
		t.Errorf("%d cases", n)
	}
}

// TestGroupCodes writes blocks with given parts and reads the same parts and the values they stand for.
func TestGroupCodes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, name := range []string{"int4g32", "int4g128", "int4", "uint4g32", "uint4", "int8g64", "int8", "uint8g128", "uint8", "int4g32h", "uint4g64h", "int8h", "uint8h"} {
		c, err := Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := Lookup(name)
		if again != c || c.Name() != name {
			t.Errorf("%s: is %s, compares %v", name, c.Name(), again == c)
		}
		g, ok := GroupOf(c)
		if !ok || g.Name() != name {
			t.Errorf("%s: GroupOf says %v, %v", name, g, ok)
		}
		size, rows, cols := g.Size, 3, 256
		if size == 0 {
			size = cols
		}
		rb, err := RowBytes(c, cols)
		if err != nil || rb != cols/size*g.Bytes(size) {
			t.Fatalf("%s: %d bytes a row, %v", name, rb, err)
		}
		data := make([]byte, rows*rb)
		var want []float32
		least, most := g.Range()
		for b := range rows * cols / size {
			codes, back := make([]int16, size), make([]int16, size)
			for i := range codes {
				codes[i] = least + int16(r.IntN(int(most-least)+1))
			}
			scale, zero := r.Float32(), float32(0)
			if g.Zero {
				zero = float32(r.IntN(16)) + 0.25
			}
			at := data[b*g.Bytes(size):][:g.Bytes(size)]
			g.Put(at, scale, zero, codes)
			s, z := g.Get(at, back)
			if s != scale || z != zero {
				t.Fatalf("%s: scale %v zero %v, want %v %v", name, s, z, scale, zero)
			}
			for i, q := range codes {
				if back[i] != q {
					t.Fatalf("%s: code %d is %d, want %d", name, i, back[i], q)
				}
				want = append(want, scale*(float32(q)-zero))
			}
		}
		got := make([]float32, rows*cols)
		c.Decode(got, data)
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%s: value %d is %v, want %v", name, i, got[i], want[i])
			}
		}
	}
	for _, bad := range []string{"int4g", "int4g0", "int4g3", "int4g-2", "int4g032", "int3g128", "uint4g4294967296", "int16", "u", "uuint4"} {
		if c, err := Lookup(bad); err == nil {
			t.Errorf("%s: found %s", bad, c.Name())
		}
	}
	c, _ := Lookup("int4")
	if _, err := RowBytes(c, 7); err == nil {
		t.Error("odd row of int4 accepted")
	}
}
