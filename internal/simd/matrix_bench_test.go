package simd

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/parelm/pare/internal/par"
)

// BenchmarkMatrix multiplies with matrices of TinyLlama's shapes on one thread. One row of activations (decoding) goes
// through enough copies of the matrix that none is in a cache; GB/s counts the bytes of the stored weights. 512 rows
// (a prompt) report GMAC/s.
func BenchmarkMatrix(b *testing.B) {
	shapes := [][2]int{{2048, 2048}, {5632, 2048}, {2048, 5632}, {32000, 2048}}
	for _, format := range []string{"q8_0", "q4_0", "q4_k", "q6_k", "q5_0", "q5_k", "q2_k", "q3_k", "iq4_xs", "mxfp4", "int4g128", "bf16", "f16", "f32"} {
		for _, s := range shapes {
			for _, n := range []int{1, 2, 4, 8, 16, 32, 512} {
				b.Run(fmt.Sprintf("%s/%dx%d/n=%d", format, s[0], s[1], n), func(b *testing.B) { benchMatrix(b, format, s[0], s[1], n, false) })
			}
			if PromptsFast() {
				b.Run(fmt.Sprintf("%s/%dx%d/prompt=256", format, s[0], s[1]), func(b *testing.B) { benchMatrix(b, format, s[0], s[1], 256, true) })
			}
		}
	}
}

func benchMatrix(b *testing.B, format string, rows, cols, n int, prompt bool) {
	par.SetThreads(1)
	defer par.SetThreads(0)
	r := rand.New(rand.NewPCG(1, 2))
	first, err := NewMatrix(format, rows, cols)
	if err != nil {
		b.Fatal(err)
	}
	copies := 1
	if n < 32 {
		copies = max(1, 200_000_000/int(first.Bytes()))
	}
	ms := []*Matrix{first}
	data := make([]byte, first.rowBytes)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	for range copies - 1 {
		m, _ := NewMatrix(format, rows, cols)
		ms = append(ms, m)
	}
	for _, m := range ms {
		m.RoundFast()
		for i := range rows {
			m.Pack(i, data)
		}
	}
	var a Acts
	a.Reset(random(r, n*cols), n, cols)
	a.Want(first.Form(prompt))
	a.Quantize(0, n)
	dst := make([]float32, n*rows)
	now := cpuClock(b)
	task := 64 // rows of the weight at a time
	if n >= 256 {
		task = 160
	}
	best := 1e9
	for b.Loop() {
		t := now()
		for _, m := range ms {
			for lo := 0; lo < rows; lo += task {
				m.Mul(dst[lo:], rows, &a, lo, min(rows, lo+task), false)
			}
		}
		best = min(best, (now()-t)/float64(copies))
	}
	b.ReportMetric(float64(first.rowBytes)*float64(rows)/best/1e9, "GB/s")
	b.ReportMetric(float64(rows)*float64(cols)*float64(n)/best/1e9, "GMAC/s")
	b.ReportMetric(0, "ns/op")
}
