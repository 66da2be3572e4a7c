package model_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// TestLlamaCPP checks what users are told about GGUF files. Each line was seen in llama.cpp: where nothing is said here, its
// logits are those of the reference executor.
func TestLlamaCPP(t *testing.T) {
	for _, c := range []struct {
		name   string
		change map[string]any
		want   []string
	}{
		{"llama", nil, nil},
		{"mistral", nil, []string{"no sliding window in the architecture llama"}},
		{"mistral", map[string]any{"sliding_window": nil}, nil},
		{"mixtral", map[string]any{"sliding_window": 3}, []string{"no sliding window"}},
		{"gemma2", map[string]any{"query_pre_attn_scalar": 16}, nil},
		{"gemma2", nil, []string{"1/sqrt(16)"}},
		{"gemma3_text", map[string]any{"query_pre_attn_scalar": 16}, nil},
		{"cohere2", nil, nil},
		{"olmo3", nil, nil},
		{"exaone4", nil, []string{"models of 64"}},
		{"exaone4", map[string]any{"sliding_window": nil, "layer_types": nil}, nil},
		{"gpt_neo", nil, []string{"no such architecture"}},
		{"phi3_longrope", nil, []string{"long factors"}},
		{"phi3", nil, []string{"no sliding window"}},
		{"qwen2_moe", map[string]any{"norm_topk_prob": true}, []string{"norm_topk_prob"}},
		{"granitemoe", nil, nil},
		{"lfm2", nil, nil},
		{"lfm2", map[string]any{"full_attn_idxs": nil}, []string{"convolutions"}},
		{"qwen3_5", nil, nil},
		{"qwen3_5", map[string]any{"linear_key_head_dim": 16}, []string{"one width"}},
		{"qwen3_5", map[string]any{"full_attention_interval": 1}, []string{"delta networks"}},
		{"gpt_oss", nil, []string{"whole dimensions"}},
		{"gpt_oss", map[string]any{"rope_scaling": map[string]any{"rope_type": "default"}}, nil},
		{"gpt_oss", map[string]any{"rope_scaling": map[string]any{"rope_type": "default"}, "swiglu_limit": 5.0}, []string{"to 7"}},
		{"gpt_oss", map[string]any{"attention_bias": false}, []string{"biases of attention"}},
		{"gpt_oss", map[string]any{"layer_types": []string{"full_attention", "full_attention", "full_attention"}}, []string{"sliding window"}},
		{"qwen3_moe", nil, []string{"experts in every layer"}},
		{"qwen3_moe", map[string]any{"mlp_only_layers": nil, "norm_topk_prob": true}, nil},
		{"falcon_rw", nil, []string{"does not load"}},
		{"falcon_7b", nil, nil},
		{"glm", map[string]any{"head_dim": 12}, []string{"heads that make up"}},
		{"glm4", nil, nil},
		{"smollm3", nil, nil},
		{"smollm3", map[string]any{"no_rope_layers": []int{0, 1, 1, 0}}, []string{"every fourth"}},
	} {
		keys := models.Keys(t, c.name)
		for k, v := range c.change {
			keys[k] = v
		}
		data, err := json.Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := model.ParseConfig(c.name, data)
		if err != nil {
			t.Fatal(err)
		}
		got := model.Random(cfg, 1).LlamaCPP()
		ok := len(got) == len(c.want)
		for i := range c.want {
			ok = ok && strings.Contains(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s %v: %q, want %q", c.name, c.change, got, c.want)
		}
	}
}

// TestRefused checks that what is not computed says why, in one line.
func TestRefused(t *testing.T) {
	for name, why := range map[string]string{
		"deepseek_v3": "MLA", "deepseek_v2": "MLA", "qwen3_next": "order", "lfm2_moe": "sigmoids", "mamba2": "first Mamba",
		"jamba": "recurrent", "rwkv6": "RWKV 4", "phimoe": "sparse mixers", "granitemoeshared": "shared experts", "dbrx": "experts", "chatglm": "glm4",
		"gemma3n": "embeddings", "gemma3": "pictures", "t5": "encoder", "something": `"something"; known are`,
	} {
		_, err := model.ParseConfig("config.json", []byte(`{"model_type": "`+name+`", "vocab_size": 8}`))
		if !errors.Is(err, model.ErrUnsupported) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), `config.json: key "model_type"`) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
