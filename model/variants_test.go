package model_test

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// variant reads the tiny configuration name with some keys changed; a nil value deletes the key.
func variant(t *testing.T, name string, change map[string]any) *model.Config {
	t.Helper()
	c, err := model.ParseConfig(name, variantJSON(t, name, change))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func variantJSON(t *testing.T, name string, change map[string]any) []byte {
	t.Helper()
	keys := models.Keys(t, name)
	for k, v := range change {
		if keys[k] = v; v == nil {
			delete(keys, k)
		}
	}
	data, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestOtherKeys reads files that say the sizes under the other names that transformers accepts, or accepted once.
func TestOtherKeys(t *testing.T) {
	for _, c := range []struct {
		name  string
		names map[string]string
	}{
		{"bloom", map[string]string{"hidden_size": "n_embed", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads"}},
		{"gpt2", map[string]string{"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads", "n_positions": "max_position_embeddings"}},
		{"gptj", map[string]string{"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads"}},
		{"gpt_bigcode", map[string]string{"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads"}},
		{"mpt", map[string]string{"d_model": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads"}},
		{"falcon_new_decoder", map[string]string{"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "num_kv_heads": "n_head_kv"}},
		{"stablelm", map[string]string{"partial_rotary_factor": "rope_pct", "layer_norm_eps": "norm_eps"}},
	} {
		keys, change := models.Keys(t, c.name), map[string]any{}
		for key, other := range c.names {
			if keys[key] == nil {
				t.Fatalf("%s: no key %s", c.name, key)
			}
			change[key], change[other] = nil, keys[key]
		}
		want, got := variant(t, c.name, nil), variant(t, c.name, change)
		if got.Hidden != want.Hidden || got.Context != want.Context || got.Norm != want.Norm || !reflect.DeepEqual(got.Layers, want.Layers) {
			t.Errorf("%s: other names read as\n%+v\nwant\n%+v", c.name, got, want)
		}
	}
}

// TestRefinedWeb reads the first file of Falcon 40B, whose own code knew the new decoder alone.
func TestRefinedWeb(t *testing.T) {
	c, err := model.ParseConfig("config.json", []byte(`{"model_type":"RefinedWeb", "hidden_size":8192, "n_head":128, "n_head_kv":8, "n_layer":60,
		"parallel_attn":true, "bias":false, "alibi":false, "layer_norm_epsilon":1e-5, "vocab_size":65024}`))
	if err != nil {
		t.Fatal(err)
	}
	if l := c.Layers[59]; l.Heads != 128 || l.KVHeads != 8 || !l.Parallel || !l.TwoNorms || l.FFN != 4*8192 {
		t.Errorf("read %+v", l)
	}
}

// smol is a SmolLM3 of eight layers made of the tiny Llama.
func smol(t *testing.T, change map[string]any) *model.Config {
	t.Helper()
	keys := map[string]any{"model_type": "smollm3", "architectures": []string{"SmolLM3ForCausalLM"}, "num_hidden_layers": 8}
	for k, v := range change {
		keys[k] = v
	}
	return variant(t, "llama", keys)
}

// TestSmolLM3Layers checks which layers rotate and which slide; 1 in no_rope_layers means rotary embedding.
func TestSmolLM3Layers(t *testing.T) {
	slides := map[string]any{"use_sliding_window": true, "sliding_window": 5}
	for _, c := range []struct {
		name          string
		change        map[string]any
		rope, sliding []int
	}{
		{"by interval", nil, []int{1, 1, 1, 0, 1, 1, 1, 0}, make([]int, 8)},
		{"interval 2", map[string]any{"no_rope_layer_interval": 2}, []int{1, 0, 1, 0, 1, 0, 1, 0}, make([]int, 8)},
		{"by list", map[string]any{"no_rope_layers": []int{0, 1, 1, 0, 0, 1, 1, 1}}, []int{0, 1, 1, 0, 0, 1, 1, 1}, make([]int, 8)},
		{"a longer list", map[string]any{"no_rope_layers": []int{0, 1, 1, 0, 0, 1, 1, 1, 0, 0}}, []int{0, 1, 1, 0, 0, 1, 1, 1}, make([]int, 8)},
		{"window where nothing rotates", slides, []int{1, 1, 1, 0, 1, 1, 1, 0}, []int{0, 0, 0, 5, 0, 0, 0, 5}},
		{"window not used", map[string]any{"sliding_window": 5}, []int{1, 1, 1, 0, 1, 1, 1, 0}, make([]int, 8)},
		{"window by type", map[string]any{"use_sliding_window": true, "sliding_window": 5, "layer_types": []string{"sliding_attention",
			"full_attention", "full_attention", "full_attention", "full_attention", "full_attention", "full_attention", "full_attention"}},
			[]int{1, 1, 1, 0, 1, 1, 1, 0}, []int{5, 0, 0, 0, 0, 0, 0, 0}},
	} {
		for i, l := range smol(t, c.change).Layers {
			if (l.Rope != nil) != (c.rope[i] == 1) || l.Window != c.sliding[i] {
				t.Errorf("%s: layer %d has rotary embedding %v and window %d", c.name, i, l.Rope != nil, l.Window)
			}
		}
	}
}

// TestGemma3RopeParameters reads what newer files say about the two rotary embeddings: one object for each type of layers.
func TestGemma3RopeParameters(t *testing.T) {
	c := variant(t, "gemma3_text", map[string]any{"rope_theta": nil, "rope_local_base_freq": nil, "rope_scaling": nil,
		"sliding_window_pattern": nil, "num_hidden_layers": 2, "layer_types": []string{"full_attention", "sliding_attention"},
		"rope_parameters": map[string]any{
			"full_attention":    map[string]any{"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
			"sliding_attention": map[string]any{"rope_type": "default", "rope_theta": 2e4},
		}})
	full, sliding := c.Layers[0], c.Layers[1]
	if full.Window != 0 || full.Rope.Theta != 5e5 || full.Rope.Scaling.Kind != "linear" || full.Rope.Scaling.Factor != 8 {
		t.Errorf("full layer: window %d, %+v", full.Window, full.Rope)
	}
	if sliding.Window == 0 || sliding.Rope.Theta != 2e4 || sliding.Rope.Scaling.Kind != "" {
		t.Errorf("sliding layer: window %d, %+v", sliding.Window, sliding.Rope)
	}
}

// TestExpertLayers checks which layers of a Qwen model are mixtures of experts, and how wide they are.
func TestExpertLayers(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  map[string]any
		experts []int
	}{
		{"all", map[string]any{"mlp_only_layers": nil}, []int{6, 6, 6, 6}},
		{"some dense", map[string]any{"mlp_only_layers": []int{0, 2}}, []int{0, 6, 0, 6}},
		{"every second", map[string]any{"mlp_only_layers": nil, "decoder_sparse_step": 2}, []int{0, 6, 0, 6}},
		{"every second, some dense", map[string]any{"mlp_only_layers": []int{3}, "decoder_sparse_step": 2}, []int{0, 6, 0, 0}},
		{"none", map[string]any{"num_experts": 0}, []int{0, 0, 0, 0}},
	} {
		for _, family := range []string{"qwen2_moe", "qwen3_moe"} {
			c.change["num_hidden_layers"] = 4
			for i, l := range variant(t, family, c.change).Layers {
				ffn, shared := 64, 0
				if c.experts[i] > 0 {
					if ffn = 24; family == "qwen2_moe" {
						shared = 40
					}
				}
				if l.Experts != c.experts[i] || l.FFN != ffn || l.Shared != shared {
					t.Errorf("%s, %s: layer %d has %d experts of %d, shared %d", family, c.name, i, l.Experts, l.FFN, l.Shared)
				}
			}
		}
	}
}

// TestSaveMixtures prunes and drops layers of mixtures of experts, with dense layers between them, and reads the files back.
func TestSaveMixtures(t *testing.T) {
	first := func(n int) (units []int) {
		for i := range n {
			units = append(units, i)
		}
		return units
	}
	for _, name := range []string{"qwen2_moe", "qwen3_moe", "mixtral", "olmoe"} {
		m := models.Model(t, name, 1)
		cut := model.Selection{}
		for _, a := range m.Graph.Axes {
			if a.Kind == model.AxisFFN || a.Kind == model.AxisExperts {
				cut[a.Name] = first(a.Size - 2)
			}
		}
		small, err := m.Shrink(cut)
		if err != nil {
			t.Fatal(err)
		}
		path := t.TempDir()
		if err := small.SaveHF(context.Background(), dir(path)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		back, err := model.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		sameModel(t, back, small)
		back.Close()
	}
}
