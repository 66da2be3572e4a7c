package model_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"reflect"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/safetensors"
)

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
		{"qwen2_moe", map[string]string{"num_experts": "num_local_experts"}},
		{"qwen3_moe", map[string]string{"num_experts": "num_local_experts"}},
		{"mixtral", map[string]string{"num_local_experts": "num_experts"}},
		{"stablelm", map[string]string{"partial_rotary_factor": "rope_pct", "layer_norm_eps": "norm_eps"}},
	} {
		keys, change := models.Keys(t, c.name), map[string]any{}
		for key, other := range c.names {
			if keys[key] == nil {
				t.Fatalf("%s: no key %s", c.name, key)
			}
			change[key], change[other] = nil, keys[key]
		}
		want, got := models.Variant(t, c.name, nil), models.Variant(t, c.name, change)
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
	return models.Variant(t, "llama", keys)
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
	c := models.Variant(t, "gemma3_text", map[string]any{"rope_theta": nil, "rope_local_base_freq": nil, "rope_scaling": nil,
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

// TestRopeParameters writes what transformers 5 writes: one object for base, scaling and share, dtype for torch_dtype.
func TestRopeParameters(t *testing.T) {
	moved := 0
	for _, name := range models.Names() {
		keys, change := models.Keys(t, name), map[string]any{}
		p := map[string]any{"rope_type": "default"}
		if scaling, ok := keys["rope_scaling"].(map[string]any); ok {
			for k, v := range scaling {
				if k == "type" {
					k = "rope_type"
				}
				p[k] = v
			}
		}
		for k, to := range map[string]string{"rope_theta": "rope_theta", "partial_rotary_factor": "partial_rotary_factor",
			"rotary_pct": "partial_rotary_factor", "rotary_emb_base": "rope_theta"} {
			if v, ok := keys[k]; ok {
				change[k], p[to] = nil, v
			}
		}
		if len(change) == 0 || keys["rope_local_base_freq"] != nil {
			continue // no rotary embedding, or two: see above
		}
		moved++
		change["rope_parameters"], change["rope_scaling"], change["torch_dtype"], change["dtype"] = p, nil, nil, keys["torch_dtype"]
		if want, got := models.Config(t, name), models.Variant(t, name, change); !reflect.DeepEqual(got.Layers, want.Layers) || got.Dtype() != want.Dtype() {
			t.Errorf("%s: read %+v, want %+v", name, got.Layers[0].Rope, want.Layers[0].Rope)
		}
	}
	if moved < 20 {
		t.Errorf("only %d configurations have a rotary embedding", moved)
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
			for i, l := range models.Variant(t, family, c.change).Layers {
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

// TestVariantFiles writes forms of the families that have no tiny configuration of their own, and reads them back.
func TestVariantFiles(t *testing.T) {
	for _, c := range []struct {
		name, base string
		change     map[string]any
	}{
		{"bloom of 12 heads", "bloom", map[string]any{"hidden_size": 48, "n_head": 12}},
		{"mpt of 12 heads, clamped", "mpt", map[string]any{"d_model": 48, "n_heads": 12, "attn_config": map[string]any{"clip_qkv": 0.5}}},
		{"falcon-11b", "falcon_new_decoder", map[string]any{"num_ln_in_parallel_attn": 1}},
		{"falcon-40b", "falcon_new_decoder", map[string]any{"num_ln_in_parallel_attn": nil}},
		{"gpt_neox in sequence", "gpt_neox", map[string]any{"use_parallel_residual": false}},
		{"stablelm parallel", "stablelm", map[string]any{"use_parallel_residual": true, "qk_layernorm": true, "use_qkv_bias": true}},
		{"cohere", "cohere", map[string]any{"use_qk_norm": false}},
		{"cohere normalised", "cohere", map[string]any{"use_qk_norm": true}},
		{"gpt_bigcode", "gpt_bigcode", map[string]any{"multi_query": false}},
		{"opt-350m", "opt", map[string]any{"do_layer_norm_before": false, "word_embed_proj_dim": 12}},
		{"olmo clamped", "olmo", map[string]any{"clip_qkv": 0.5}},
		{"llama yarn", "llama", map[string]any{"rope_scaling": map[string]any{"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16}}},
		{"llama with a table", "llama", map[string]any{"rope_scaling": map[string]any{"rope_type": "llama3", "factor": 5.0, "low_freq_factor": 1.0,
			"high_freq_factor": 2.0, "original_max_position_embeddings": 64}}},
		{"phi-4-mini", "phi3", map[string]any{"partial_rotary_factor": 0.75, "original_max_position_embeddings": 8, "num_key_value_heads": 2, "tie_word_embeddings": true,
			"rope_scaling": map[string]any{"type": "longrope", "short_factor": []float64{1, 1.5, 3}, "long_factor": []float64{2, 4, 8}}}},
		{"qwen2_moe, every second", "qwen2_moe", map[string]any{"decoder_sparse_step": 2}},
		{"mixtral sliding", "mixtral", map[string]any{"sliding_window": 3}},
		{"granite with biases", "granite", map[string]any{"attention_bias": true, "mlp_bias": true, "logits_scaling": 4}},
		{"starcoder2 without biases", "starcoder2", map[string]any{"use_bias": false, "sliding_window": nil}},
		{"phi, wide heads", "phi", map[string]any{"head_dim": 12}},
		{"phi3, wide heads", "phi3", map[string]any{"head_dim": 12}},
		{"olmo, narrow heads", "olmo", map[string]any{"head_dim": 2}},
		{"olmo3, wide heads", "olmo3", map[string]any{"head_dim": 12}},
		{"cohere, narrow heads", "cohere", map[string]any{"head_dim": 2, "use_qk_norm": true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := models.Of(t, models.Variant(t, c.base, c.change), 1)
			testGGUF(t, m)
			testLayers(t, m)
		})
	}
}

// TestAbsentKeys leaves keys out of config.json; what they mean then is what the classes of transformers assume.
func TestAbsentKeys(t *testing.T) {
	for _, c := range []struct {
		name, config string
		is           func(c *model.Config, l *model.Layer) bool
	}{
		{"glm has biases on q, k and v", `{"model_type":"glm"}`, func(_ *model.Config, l *model.Layer) bool {
			return l.QKVBias && !l.OBias && l.HeadDim == 128 && l.KVHeads == 2 && l.Rope.Dim == 64 && l.Rope.Interleaved
		}},
		{"glm4 too", `{"model_type":"glm4"}`, func(_ *model.Config, l *model.Layer) bool { return l.QKVBias && !l.OBias && l.Rope.Dim == 64 }},
		{"seed_oss has them but for the output", `{"model_type":"seed_oss"}`, func(_ *model.Config, l *model.Layer) bool {
			return l.QKVBias && !l.OBias && l.HeadDim == 128 && l.KVHeads == 8
		}},
		{"nemotron", `{"model_type":"nemotron"}`, func(c *model.Config, l *model.Layer) bool {
			return !l.QKVBias && !l.Gated && l.Act == model.ReLUSquared && l.Rope.Dim == 64 && l.KVHeads == 48 && c.Norm.PlusOne && !c.Tied
		}},
		{"arcee", `{"model_type":"arcee"}`, func(c *model.Config, l *model.Layer) bool {
			return !l.Gated && l.Act == model.ReLUSquared && l.HeadDim == 80 && c.Norm.Eps == 1e-5 && !c.Tied
		}},
		{"ernie4_5", `{"model_type":"ernie4_5"}`, func(c *model.Config, l *model.Layer) bool {
			return l.HeadDim == 128 && l.KVHeads == 2 && l.Rope.Theta == 5e5 && l.Rope.Interleaved && !l.QKVBias && c.Tied
		}},
		{"exaone4 slides in three layers of four", `{"model_type":"exaone4"}`, func(c *model.Config, l *model.Layer) bool {
			return l.Window == 4096 && l.Rope != nil && c.Layers[3].Window == 0 && c.Layers[3].Rope == nil && !c.Tied
		}},
		{"exaone4 without a window rotates everywhere", `{"model_type":"exaone4","sliding_window":null}`, func(c *model.Config, l *model.Layer) bool {
			return l.Window == 0 && l.Rope != nil && c.Layers[3].Rope != nil
		}},
		{"olmo3", `{"model_type":"olmo3"}`, func(c *model.Config, l *model.Layer) bool {
			return l.Window == 4096 && c.Layers[3].Window == 0 && l.QKNorm == "full" && c.Norm.Eps == 1e-5 && !c.Tied
		}},
		{"cohere2", `{"model_type":"cohere2"}`, func(c *model.Config, l *model.Layer) bool {
			return l.Window == 4096 && l.Rope.Interleaved && c.Layers[3].Rope == nil && c.LogitScale == 0.0625 && c.Tied && l.Parallel
		}},
		{"hunyuan", `{"model_type":"hunyuan_v1_dense"}`, func(c *model.Config, l *model.Layer) bool {
			return l.RopeFirst && l.QKNorm == "head" && l.KVHeads == 32 && c.Norm.Eps == 1e-5 && !c.Tied
		}},
		{"minicpm", `{"model_type":"minicpm"}`, func(c *model.Config, l *model.Layer) bool {
			return c.EmbedScale == 1 && c.LogitScale == 1.0/4096 && math.Abs(l.Residual-1/math.Sqrt(32)) < 1e-15 && c.Tied
		}},
		{"qwen3", `{"model_type":"qwen3"}`, func(c *model.Config, l *model.Layer) bool {
			return l.HeadDim == 128 && l.KVHeads == 32 && l.Window == 0 && !l.QKVBias && !c.Tied
		}},
		{"mistral", `{"model_type":"mistral"}`, func(c *model.Config, l *model.Layer) bool {
			return l.HeadDim == 128 && l.KVHeads == 8 && l.Window == 4096 && c.Norm.Eps == 1e-6 && !c.Tied
		}},
		{"gemma3", `{"model_type":"gemma3_text"}`, func(c *model.Config, l *model.Layer) bool {
			return l.HeadDim == 256 && l.KVHeads == 4 && l.Window == 4096 && l.Rope.Theta == 1e4 && c.Layers[5].Rope.Theta == 1e6 && c.Tied
		}},
	} {
		cfg, err := model.ParseConfig("config.json", []byte(c.config))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !c.is(cfg, &cfg.Layers[0]) {
			t.Errorf("%s: read %+v", c.name, cfg.Layers[0])
		}
	}
}

// TestHeadLayouts looks up which rows of a fused projection belong to which head.
func TestHeadLayouts(t *testing.T) {
	for _, c := range []struct {
		name, base string
		change     map[string]any
		tensor     string
		order      string // q, k and v of each head in the order of their rows
	}{
		{"one key head", "gpt_bigcode", map[string]any{"multi_query": true}, "transformer.h.0.attn.c_attn.weight", "qqqqkv"},
		{"all key heads", "gpt_bigcode", map[string]any{"multi_query": false}, "transformer.h.0.attn.c_attn.weight", "qkvqkvqkvqkv"},
		{"falcon-7b", "falcon_7b", map[string]any{"num_attention_heads": 4}, "transformer.h.0.self_attention.query_key_value.weight", "qqqqkv"},
		{"falcon, all key heads", "falcon_7b", map[string]any{"num_attention_heads": 4, "multi_query": false},
			"transformer.h.0.self_attention.query_key_value.weight", "qkvqkvqkvqkv"},
		{"falcon-11b", "falcon_new_decoder", map[string]any{"num_attention_heads": 4, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
			"transformer.h.0.self_attention.query_key_value.weight", "qqkvqqkv"},
		{"internlm2", "internlm2", map[string]any{"num_attention_heads": 4, "num_key_value_heads": 2}, "model.layers.0.attention.wqkv.weight", "qqkvqqkv"},
		{"phi3", "phi3", map[string]any{"num_attention_heads": 4, "num_key_value_heads": 2}, "model.layers.0.self_attn.qkv_proj.weight", "qqqqkkvv"},
		{"mpt", "mpt", map[string]any{"n_heads": 4}, "transformer.blocks.0.attn.Wqkv.weight", "qqqqkkkkvvvv"},
	} {
		m := models.Of(t, models.Variant(t, c.base, c.change), 1)
		path := t.TempDir()
		if err := m.SaveHF(context.Background(), dir(path)); err != nil {
			t.Fatal(err)
		}
		files, err := safetensors.OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		x, ok := files.Tensor(c.tensor)
		if !ok {
			t.Fatalf("%s: no tensor %s", c.name, c.tensor)
		}
		fused := raw(t, x)
		var want []byte
		head := m.Config.Layers[0].HeadDim * m.Config.Hidden * 4
		next := map[rune]int{}
		for _, part := range c.order {
			rows := raw(t, m.Tensor(m.Graph.Weight("layers.0.attn."+string(part))))
			want = append(want, rows[next[part]*head:][:head]...)
			next[part]++
		}
		if files.Close(); !bytes.Equal(fused, want) {
			t.Errorf("%s: rows are not %s", c.name, c.order)
		}
	}
}

// TestActivationNames reads the names that transformers knows; Gemma's is tanh GELU whatever older files say.
func TestActivationNames(t *testing.T) {
	for name, want := range map[string]model.Activation{"gelu": model.GELU, "gelu_python": model.GELU, "gelu_new": model.GELUTanh,
		"gelu_fast": model.GELUTanh, "gelu_pytorch_tanh": model.GELUTanh, "gelu_accurate": model.GELUTanh, "relu": model.ReLU,
		"quick_gelu": model.QuickGELU, "silu": model.SiLU, "swish": model.SiLU} {
		if got := models.Variant(t, "gpt2", map[string]any{"activation_function": name}).Layers[0].Act; got != want {
			t.Errorf("%s is read as %s", name, got)
		}
		if got := models.Variant(t, "gemma", map[string]any{"hidden_act": name, "hidden_activation": nil}).Layers[0].Act; got != model.GELUTanh {
			t.Errorf("gemma: %s is read as %s", name, got)
		}
	}
}

// TestNullAlias: another name that says null says nothing.
func TestNullAlias(t *testing.T) {
	c := models.Variant(t, "bloom", map[string]any{"n_embed": json.RawMessage("null"), "num_attention_heads": json.RawMessage("null")})
	if w := models.Variant(t, "bloom", nil); c.Hidden != w.Hidden || c.Layers[0].Heads != w.Layers[0].Heads {
		t.Errorf("hidden size %d, %d heads", c.Hidden, c.Layers[0].Heads)
	}
}

// TestMalformedRopeParameters expects an error rather than a class default.
func TestMalformedRopeParameters(t *testing.T) {
	for _, p := range []string{`3`, `{"rope_theta":"x"}`, `{"full_attention":3}`, `{"full_attention":{"rope_type":"linear","factor":"x"}}`,
		`{"rope_type":7}`, `{"rope_type":"stretched"}`} {
		if c, err := model.ParseConfig("config.json", models.JSON(t, "gemma3_text", map[string]any{"rope_parameters": json.RawMessage(p)})); err == nil {
			t.Errorf("%s is read as %+v", p, c.Layers[len(c.Layers)-1].Rope)
		}
	}
}
