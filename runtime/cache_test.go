package runtime

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// headsOf32 returns a small model whose heads any cache takes; more is what its config.json says beside the usual.
func headsOf32(t *testing.T, more string) *model.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	err := os.WriteFile(path, []byte(`{`+more+`,"hidden_size":128,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,
"num_key_value_heads":2,"vocab_size":64,"max_position_embeddings":256,"rms_norm_eps":1e-5,"rope_theta":10000.0,"hidden_act":"silu"}`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.OpenConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestCacheKinds: however keys and values are kept, a prompt over several pages gives the same bits whole and in pieces,
// and logits close to those with float32.
func TestCacheKinds(t *testing.T) {
	for _, more := range []string{`"model_type":"llama"`, `"model_type":"mistral","sliding_window":70`} {
		t.Run(more, func(t *testing.T) { cacheKinds(t, headsOf32(t, more)) })
	}
	t.Run("sinks", func(t *testing.T) {
		cacheKinds(t, models.Of(t, models.Variant(t, "gpt_oss", map[string]any{"num_hidden_layers": 2,
			"layer_types": []string{"sliding_attention", "full_attention"}, "head_dim": 32, "max_position_embeddings": 256, "sliding_window": 70,
			"num_experts_per_tok": 6, "experts_per_token": 6}), 1)) // all experts: rounding must not choose others
	})
}

func cacheKinds(t *testing.T, m *model.Model) {
	ids, s := make([]int32, 200), rng.New(5)
	for i := range ids {
		ids[i] = int32(s.Intn(64))
	}
	var exact []float32
	for _, c := range []struct {
		kind     string
		error    float64
		rounding Rounding
	}{{"f32", 0, RoundKernels}, {"f16", 2e-3, RoundKernels}, {"bf16", 2e-2, RoundKernels}, {"q8_0", 1e-2, RoundKernels}, {"q8_0", 2e-2, RoundFast}} {
		e, err := Load(context.Background(), m, Options{Cache: c.kind, Batch: 48, Rounding: c.rounding})
		if err != nil {
			t.Fatal(err)
		}
		whole := collect(t, e.NewSession(), ids)
		if exact == nil {
			exact = whole
		}
		pieces, cut := e.NewSession(), []float32(nil)
		for lo, n := 0, 1; lo < len(ids); lo, n = lo+n, n+9 {
			cut = append(cut, collect(t, pieces, ids[lo:min(lo+n, len(ids))])...)
		}
		if !slices.Equal(whole, cut) {
			t.Errorf("%s: a prompt in pieces gives other bits", c.kind)
		}
		var diff, size float64
		for i, v := range whole {
			diff = max(diff, math.Abs(float64(v-exact[i])))
			size = max(size, math.Abs(float64(exact[i])))
		}
		if !(diff <= c.error*size) {
			t.Errorf("%s: logits differ by %.3g of %.3g", c.kind, diff, size)
		}
		if c.kind != "f32" && diff == 0 {
			t.Errorf("%s: as exact as float32", c.kind)
		}
	}
}

func TestCacheRefused(t *testing.T) {
	m := models.Model(t, models.Names()[0], 1)
	if _, err := Load(context.Background(), m, Options{Cache: "q5_0"}); err == nil || !strings.Contains(err.Error(), "cache type") {
		t.Error(err)
	}
}

// Pages of long texts lie apart from each other, empty, and where floats may lie, also those that are larger than a chunk.
func TestPageMemory(t *testing.T) {
	var m pageMemory
	var taken [][]byte
	for i, n := range []int{smallPages, 100, pageChunk - 300, 200, pageChunk + 10, 5000} {
		b := m.take(n)
		if len(b) != n || cap(b) != n || uintptr(unsafe.Pointer(&b[0]))%8 != 0 {
			t.Fatalf("%d bytes became %d of %d", n, len(b), cap(b))
		}
		for _, x := range b {
			if x != 0 {
				t.Fatalf("piece %d holds what is another's", i)
			}
		}
		for j := range b {
			b[j] = byte(i + 1)
		}
		taken = append(taken, b)
	}
	for i, b := range taken {
		if n := bytes.Count(b, []byte{byte(i + 1)}); n != len(b) {
			t.Fatalf("%d bytes of piece %d are another's", len(b)-n, i)
		}
	}
}
