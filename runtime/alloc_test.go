package runtime

import (
	"context"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// Writing a token allocates nothing, whatever the cache: what the step needs is kept from one to the next. Pages of the
// cache are made once in 64 tokens.
func TestDecodeAllocates(t *testing.T) {
	ctx := context.Background()
	for i, cache := range []string{"f32", "f16", "bf16", "q8_0", "f16", "f16", "f16"} {
		format := []string{"f32", "f32", "f32", "f32", "q4_0", "q8_0", "bf16"}[i]
		for _, threads := range []int{1, 2} {
			kind := `"model_type":"llama"`
			if i > 3 { // a mixture of experts too
				kind = `"model_type":"mixtral","num_local_experts":6,"num_experts_per_tok":2`
			}
			e, err := Load(ctx, encoded(t, headsOf32(t, kind), format), Options{Cache: cache})
			if err != nil {
				t.Fatal(err)
			}
			par.SetThreads(threads)
			s, id := e.NewSession(), []int32{3}
			sum := float32(0)
			take := func(_ int, logits []float32) error { sum += logits[0]; return nil }
			step := func() {
				if s.Len() == 60 {
					_ = s.Truncate(ctx, 1)
				}
				if err := s.Each(ctx, id, take); err != nil {
					t.Fatal(err)
				}
			}
			for range 70 {
				step()
			}
			if n := testing.AllocsPerRun(200, step); n != 0 {
				t.Errorf("%d threads, %s weights, %s cache: %v allocations a token", threads, format, cache, n)
			}
			par.SetThreads(0)
		}
	}
}

// encoded returns m with its matrices in a format.
func encoded(t *testing.T, m *model.Model, format string) *model.Model {
	t.Helper()
	c, err := codec.Lookup(format)
	if err != nil {
		t.Fatal(err)
	}
	tensors := map[*model.Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		if w.Role == model.RoleVector {
			continue
		}
		x, err := m.Tensor(w).Float32()
		if err != nil {
			t.Fatal(err)
		}
		e := tensor.FromBytes(w.Name, c, w.Shape(), nil)
		data := make([]byte, e.Bytes())
		for r, cols, rb := 0, e.Cols(), e.RowBytes(); r < e.Rows(); r++ {
			c.Encode(data[r*rb:(r+1)*rb], x[r*cols:(r+1)*cols], nil)
		}
		tensors[w] = tensor.FromBytes(w.Name, c, w.Shape(), data)
	}
	return m.With(tensors)
}
