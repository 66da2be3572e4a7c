package runtime

import (
	"fmt"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// BenchmarkAttention is one layer of TinyLlama's shape (32 heads of 64, 4 of keys) on one thread: 1 or 64 queries behind 4096
// positions. It reports microseconds a query.
func BenchmarkAttention(b *testing.B) {
	par.SetThreads(1)
	defer par.SetThreads(0)
	a := &model.Attention{Heads: 32, KVHeads: 4, HeadDim: 64, ValueDim: 64, Scale: 0.125}
	const depth, most = 4096, 64
	s := rng.New(1)
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(s.Normal())
		}
		return x
	}
	query, out := random(most*32*64), make([]float32, most*32*64)
	for _, kind := range []cacheKind{cacheF32, cacheF16, cacheQ80} {
		spec, err := specOf(a, kind)
		if err != nil {
			b.Fatal(err)
		}
		caches := make([]*cache, 22) // as many as there are layers, so that none stays in the processor's caches
		memory := new(pageMemory)
		for i := range caches {
			caches[i] = &cache{spec: spec, memory: memory}
		}
		for pos := range depth + most {
			k, v := random(4*64), random(4*64)
			for _, c := range caches {
				c.put(pos, k, v)
			}
		}
		bench := func(name string, n int, coarse, brains bool) {
			b.Run(fmt.Sprintf("%s/%s", kind, name), func(b *testing.B) {
				p, block := part{n: n, pos: depth}, attendBlock(a)
				for i := 0; b.Loop(); i++ {
					c := caches[i%len(caches)]
					for kv := range 4 {
						for lo := 0; lo < n; lo += block {
							hi := min(lo+block, n)
							if kind == cacheQ80 && !brains {
								attendBytes(a, p, c, kv, lo, hi, query, out, 32*64, 32*64, nil, coarse && simd.BytesFast())
							} else {
								attend(a, p, c, kv, lo, hi, query, out, 32*64, 32*64, nil, brains)
							}
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "us/query")
			})
		}
		for _, n := range []int{1, most} {
			bench(fmt.Sprintf("queries=%d", n), n, true, false)
			if kind == cacheQ80 && simd.BytesFast() {
				bench(fmt.Sprintf("words=%d", n), n, false, false)
			}
			if simd.BrainsFast() || simd.PromptsFast() && n == most {
				bench(fmt.Sprintf("brains=%d", n), n, false, true)
			}
		}
	}
}
