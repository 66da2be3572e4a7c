package codec

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goldenRows, goldenCols = 8, 1024

func readFloats(t testing.TB, path string) []float32 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func floatBytes(v []float32) []byte {
	b := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
	return b
}

// encodeRows encodes row after row, as a matrix is.
func encodeRows(c Codec, src, importance []float32, cols int) []byte {
	rb, err := RowBytes(c, cols)
	if err != nil {
		panic(err)
	}
	out := make([]byte, len(src)/cols*rb)
	for r := range len(src) / cols {
		c.Encode(out[r*rb:(r+1)*rb], src[r*cols:(r+1)*cols], importance)
	}
	return out
}

// TestGolden compares encoded bytes and decoded values with those of the reference quantizer. Of formats that pare only
// reads, the bytes come from a file.
func TestGolden(t *testing.T) {
	input := readFloats(t, "testdata/ggml/input.f32")
	importance := readFloats(t, "testdata/ggml/importance.f32")
	f, err := os.Open("testdata/ggml/sums.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cases := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		field := strings.Fields(s.Text())
		if field[0] == "#" {
			continue
		}
		cases++
		t.Run(field[0]+"/importance="+field[1], func(t *testing.T) {
			c, err := Lookup(field[0])
			if err != nil {
				t.Fatal(err)
			}
			var w []float32
			suffix := ".q"
			if field[1] == "yes" {
				w, suffix = importance, ".imp.q"
			}
			got, err := os.ReadFile(filepath.Join("testdata/ggml", field[0]+suffix))
			if CanEncode(c) {
				got, err = encodeRows(c, input, w, goldenCols), nil
			}
			if err != nil {
				t.Fatal(err)
			}
			if sum(got) != field[2] {
				t.Error("other bytes than the reference")
				if want, err := os.ReadFile(filepath.Join("testdata/ggml", field[0]+suffix)); err == nil {
					reportBlocks(t, c, got, want)
				}
			}
			values := make([]float32, len(input))
			c.Decode(values, got)
			if sum(floatBytes(values)) != field[3] {
				t.Error("other values than the reference")
			}
		})
	}
	if cases != 40 {
		t.Errorf("%d cases, want 40", cases)
	}
}

// reportBlocks says which blocks differ.
func reportBlocks(t *testing.T, c Codec, got, want []byte) {
	_, n := c.Block()
	shown := 0
	for i := 0; i+n <= len(want); i += n {
		if !bytes.Equal(got[i:i+n], want[i:i+n]) {
			if shown++; shown <= 2 {
				t.Errorf("block %d of %d:\n%x\nwant\n%x", i/n, len(want)/n, got[i:i+n], want[i:i+n])
			}
		}
	}
	t.Errorf("%d blocks differ", shown)
}

// TestDecodeAnyBytes decodes seeded random bytes and compares with what the reference gave for the same: every code, every
// grid point, scales that are NaN or infinite.
func TestDecodeAnyBytes(t *testing.T) {
	f, err := os.Open("testdata/ggml/random.txt")
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
		if got := decodeRandom(c); got != field[1] {
			t.Errorf("%s: values %s, want %s", field[0], got, field[1])
		}
	}
	if n < 25 {
		t.Errorf("%d formats", n)
	}
}

// decodeRandom returns the SHA-256 of the values of 2^16 seeded values' worth of bytes, every NaN as one.
func decodeRandom(c Codec) string {
	const n = 1 << 16
	size, err := RowBytes(c, n)
	if err != nil {
		panic(err)
	}
	b := make([]byte, size)
	state := uint64(88172645463325252) // xorshift64
	for i := range b {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		b[i] = byte(state >> 32)
	}
	values := make([]float32, n)
	c.Decode(values, b)
	for i, v := range values {
		if v != v {
			values[i] = float32(math.NaN())
		}
	}
	return sum(floatBytes(values))
}
