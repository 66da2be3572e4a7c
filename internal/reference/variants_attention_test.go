package reference_test

import (
	"math"
	"testing"

	"github.com/parelm/pare/model"
)

// TestNoRotary: without rotary embedding a single layer sees what stands before the last token as a bag of tokens.
func TestNoRotary(t *testing.T) {
	shuffled := append([]int32(nil), text...)
	for i, j := 0, len(text)-2; i < j; i, j = i+1, j-1 {
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	}
	for rotary, same := range map[int]bool{0: true, 1: false} {
		m := changed(t, "smollm3", map[string]any{"num_hidden_layers": 1, "no_rope_layers": []int{rotary}})
		if d := distance(last(t, m, text), last(t, m, shuffled)); (d < 1e-9) != same {
			t.Errorf("no_rope_layers [%d]: order moves logits by %g", rotary, d)
		}
	}
}

// TestWindows changes one token at a time: the last one sees itself and the window-1 before.
func TestWindows(t *testing.T) {
	for _, c := range []struct {
		name, base string
		change     map[string]any
		window     int
	}{
		{"mistral", "mistral", map[string]any{"sliding_window": 5}, 5},
		{"mistral without", "mistral", map[string]any{"sliding_window": null}, 4096},
		{"mixtral", "mixtral", map[string]any{"sliding_window": 3}, 3},
		{"mixtral without", "mixtral", map[string]any{"sliding_window": nil}, 4096},
		{"phi3", "phi3", map[string]any{"sliding_window": 4}, 4},
		{"starcoder2", "starcoder2", map[string]any{"sliding_window": 1}, 1},
		{"qwen2, not used", "qwen2", map[string]any{"sliding_window": 5, "use_sliding_window": false, "max_window_layers": 0}, 4096},
		{"qwen2, used", "qwen2", map[string]any{"sliding_window": 5, "use_sliding_window": true, "max_window_layers": 0}, 5},
		{"qwen2, later layers", "qwen2", map[string]any{"sliding_window": 5, "use_sliding_window": true, "max_window_layers": 1}, 4096},
		{"qwen3_moe, used", "qwen3_moe", map[string]any{"sliding_window": 5, "use_sliding_window": true, "max_window_layers": 0}, 5},
		{"gemma2, first layer", "gemma2", map[string]any{"sliding_window": 5}, 5},
		{"gemma3, pattern 1", "gemma3_text", map[string]any{"sliding_window": 5, "sliding_window_pattern": 1}, 4096},
		{"gemma3, pattern 2", "gemma3_text", map[string]any{"sliding_window": 5, "sliding_window_pattern": 2}, 5},
		{"smollm3, rotating", "smollm3", map[string]any{"sliding_window": 5, "use_sliding_window": true, "no_rope_layers": []int{1}}, 4096},
		{"smollm3, not rotating", "smollm3", map[string]any{"sliding_window": 5, "use_sliding_window": true, "no_rope_layers": []int{0}}, 5},
	} {
		c.change["num_hidden_layers"] = 1
		m := changed(t, c.base, c.change)
		base := last(t, m, text)
		for p := range text[:len(text)-1] {
			other := append([]int32(nil), text...)
			other[p] = 77
			sees := len(text)-p <= c.window
			if d := distance(base, last(t, m, other)); (d > 1e-9) != sees {
				t.Errorf("%s: token %d of %d moves logits by %g", c.name, p, len(text), d)
			}
		}
	}
}

// TestWindowPatterns checks which layers slide.
func TestWindowPatterns(t *testing.T) {
	for _, c := range []struct {
		base    string
		change  map[string]any
		sliding []bool
	}{
		{"gemma2", nil, []bool{true, false, true, false, true, false}},
		{"gemma3_text", map[string]any{"sliding_window_pattern": 3}, []bool{true, true, false, true, true, false}},
		{"qwen3", map[string]any{"use_sliding_window": true, "sliding_window": 9, "max_window_layers": 4}, []bool{false, false, false, false, true, true}},
		{"mistral", nil, []bool{true, true, true, true, true, true}},
	} {
		if c.change == nil {
			c.change = map[string]any{}
		}
		c.change["num_hidden_layers"] = 6
		for i, l := range changed(t, c.base, c.change).Config.Layers {
			if (l.Window > 0) != c.sliding[i] {
				t.Errorf("%s: layer %d has window %d", c.base, i, l.Window)
			}
		}
	}
}

func scaled(c float32) func(v []float32) {
	return func(v []float32) {
		for i := range v {
			v[i] *= c
		}
	}
}

// TestScoreScales: the factor of the scores can move into the queries.
func TestScoreScales(t *testing.T) {
	queries := func(m *model.Model, c float32) *model.Model {
		change := map[string]func(v []float32){}
		for _, w := range m.Graph.Weights {
			for i := range m.Config.Layers {
				if p := "layers." + string(rune('0'+i)) + ".attn.q"; w.Name == p || w.Name == p+".bias" {
					change[w.Name] = scaled(c)
				}
			}
		}
		return with(t, m, change)
	}
	head := func(name string) float64 { return float64(changed(t, name, nil).Config.Layers[0].HeadDim) }
	for _, c := range []struct {
		name  string
		a, b  map[string]any
		times float32 // queries of a
	}{
		{"gemma2", map[string]any{"query_pre_attn_scalar": 64}, map[string]any{"query_pre_attn_scalar": 16}, 2},
		{"gemma3_text", map[string]any{"query_pre_attn_scalar": 64}, map[string]any{"query_pre_attn_scalar": 64}, 3}, // normalised
		{"granite", map[string]any{"attention_multiplier": 0.1}, map[string]any{"attention_multiplier": 0.25}, 2.5},
		{"granite", map[string]any{"attention_multiplier": 1}, map[string]any{"attention_multiplier": 1 / math.Sqrt(head("granite"))},
			float32(1 / math.Sqrt(head("granite")))},
		{"gpt2", map[string]any{"scale_attn_weights": true}, map[string]any{"scale_attn_weights": false}, float32(math.Sqrt(head("gpt2")))},
		{"gpt_bigcode", map[string]any{"scale_attn_weights": true}, map[string]any{"scale_attn_weights": false}, float32(math.Sqrt(head("gpt_bigcode")))},
		{"mpt", map[string]any{"attn_config": map[string]any{"softmax_scale": 0.2}}, map[string]any{"attn_config": map[string]any{"softmax_scale": 0.5}}, 2.5},
		{"cohere", map[string]any{"use_qk_norm": true}, map[string]any{"use_qk_norm": true}, 3},
		{"stablelm", map[string]any{"qk_layernorm": true}, map[string]any{"qk_layernorm": true}, 3},
		{"qwen3", nil, nil, 3}, {"olmo2", nil, nil, 3}, {"olmoe", nil, nil, 3},
	} {
		a, b := changed(t, c.name, c.a), changed(t, c.name, c.b)
		want := last(t, b, text)
		if d := distance(last(t, queries(a, c.times), text), want); d > 1e-3 { // epsilons of norms are not scaled
			t.Errorf("%s %v: %g off %v", c.name, c.a, d, c.b)
		}
		if d := distance(last(t, queries(a, 1.7*c.times), text), want); d < 1e-3 != (c.times == 3) {
			t.Errorf("%s: scaling queries moves logits by %g", c.name, d)
		}
	}
}

// TestClamps: q, k and v are clamped before anything else sees them.
func TestClamps(t *testing.T) {
	for name, change := range map[string]map[string]any{
		"olmo": {"clip_qkv": 0.3},
		"mpt":  {"attn_config": map[string]any{"clip_qkv": 0.3}},
	} {
		m := changed(t, name, change)
		tr := trace(t, m, text)
		for _, n := range m.Graph.Nodes {
			if n.Op != model.OpAttention {
				continue
			}
			for i, in := range n.In {
				if in.Op == model.OpRope {
					in = in.In[0]
				}
				if in.Op != model.OpClamp || in.In[0].Op != model.OpLinear {
					t.Fatalf("%s: input %d of attention is a %s", name, i, in.Op)
				}
				for j, v := range tr[in.In[0].ID] {
					if want := math.Copysign(min(math.Abs(v), 0.3), v); tr[in.ID][j] != want {
						t.Fatalf("%s: %v became %v", name, v, tr[in.ID][j])
					}
				}
			}
		}
	}
}
