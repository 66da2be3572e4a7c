package simd

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// Kernels that pack 16 rows at once store the bytes that row after row gives, from rows that end at a page that faults to
// memory that does.
func TestPackTile(t *testing.T) {
	was := inUse()
	defer use(was)
	r := rand.New(rand.NewPCG(71, 72))
	stored := guarded(t, 64)
	for _, format := range append(quantNames(), "f32", "f16", "bf16") {
		for i := range 12 {
			_, cols := shapeFor(format, r)
			if i < 4 && lookupQuant(format) == nil {
				cols = 1 + i*5
			}
			rows := 16 * (1 + r.IntN(2))
			shape, err := NewMatrix(format, rows, cols)
			if err != nil {
				t.Fatal(err)
			}
			n := rows * shape.rowBytes
			if n > len(stored) {
				continue
			}
			data := stored[len(stored)-n:]
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			for i := range implementationNames {
				if i := implementation(i); !i.x86() || !available(i) {
					continue
				}
				use(implementation(i))
				want, _ := NewMatrix(format, rows, cols)
				for i := range rows {
					want.Pack(i, data[i*want.rowBytes:][:want.rowBytes])
				}
				got, _ := NewMatrix(format, rows, cols)
				if got.quant != nil || format != "f32" {
					b := guarded(t, len(got.data)/4096+1)
					got.data = b[len(b)-len(got.data):]
				}
				got.Pack(0, data)
				if !bytes.Equal(got.data, want.data) {
					t.Fatalf("%s, %d rows of %d: other bytes than row by row", format, rows, cols)
				}
				for i, v := range got.values {
					if math.Float32bits(v) != math.Float32bits(want.values[i]) {
						t.Fatalf("%s, %d rows of %d: value %d is %v, not %v", format, rows, cols, i, v, want.values[i])
					}
				}
			}
		}
	}
}

// BenchmarkPack stores rows of 2048 values, about 256 KB at a time: MB/s of stored bytes.
func BenchmarkPack(b *testing.B) {
	for _, format := range append(quantNames(), "f32", "f16", "bf16") {
		const cols = 2048
		m, err := NewMatrix(format, 2048, cols)
		if err != nil {
			continue // groups that do not divide the row
		}
		b.Run(format, func(b *testing.B) {
			rows := (1 << 18 / m.rowBytes) &^ 15
			data := make([]byte, rows*m.rowBytes)
			b.SetBytes(int64(len(data)))
			for i := 0; b.Loop(); i++ {
				at := i * rows % 2048
				m.Pack(at, data[:min(rows, 2048-at)&^15*m.rowBytes])
			}
		})
	}
}
