package codec

import (
	"math/rand/v2"
	"testing"
)

// benchRow is a weight-like row.
func benchRow(n int) []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * 0.02)
	}
	return x
}

func BenchmarkEncode(b *testing.B) {
	x := benchRow(1 << 16)
	importance := make([]float32, len(x))
	for i := range importance {
		importance[i] = abs(x[(i*7)%len(x)]) + 0.001
	}
	for _, w := range []struct {
		name string
		w    []float32
	}{{"plain", nil}, {"importance", importance}} {
		for _, name := range benchNames {
			c, err := Lookup(name)
			if err != nil {
				b.Fatal(err)
			}
			n, err := RowBytes(c, len(x))
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, n)
			b.Run(w.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(4 * len(x)))
				for b.Loop() {
					c.Encode(dst, x, w.w)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(x)), "ns/value")
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	x := benchRow(1 << 16)
	for _, name := range benchNames {
		c, err := Lookup(name)
		if err != nil {
			b.Fatal(err)
		}
		n, err := RowBytes(c, len(x))
		if err != nil {
			b.Fatal(err)
		}
		src := make([]byte, n)
		c.Encode(src, x, nil)
		dst := make([]float32, len(x))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(4 * len(x)))
			for b.Loop() {
				c.Decode(dst, src)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(x)), "ns/value")
		})
	}
}

var benchNames = []string{"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4"}
