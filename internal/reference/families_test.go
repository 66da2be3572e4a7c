package reference_test

import (
	"context"
	"math"
	"testing"

	"github.com/parelm/pare/internal/reference"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

// TestFamiliesAgree runs a tiny model of every family in the slow and the fast executor.
func TestFamiliesAgree(t *testing.T) {
	ids := []int32{3, 17, 60, 4, 4, 91, 22, 7, 18, 100, 1, 2, 50}
	for _, name := range models.Names() {
		agree(t, name, models.Model(t, name, 1), ids)
	}
}

// agree runs a model in the slow and the fast executor, which takes five tokens at a time.
func agree(t *testing.T, name string, m *model.Model, ids []int32) {
	t.Helper()
	trace, err := reference.Run(m.Graph, func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }, ids)
	if err != nil {
		t.Fatal(err)
	}
	want := trace[m.Graph.Logits.ID]
	e, err := runtime.Load(context.Background(), m, runtime.Options{Batch: 5})
	if err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	err = e.NewSession().Each(context.Background(), ids, func(i int, logits []float32) error {
		for j, v := range logits {
			worst = max(worst, math.Abs(float64(v)-want[i*m.Config.Vocab+j]))
		}
		return nil
	})
	if err != nil || !(worst <= 1e-4) {
		t.Errorf("%s: logits differ by %.3g (%v)", name, worst, err)
	}
	s := e.NewSession()
	worst = 0
	for i := range ids { // again as generation does it, token by token
		logits, err := s.Step(context.Background(), ids[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		if i == len(ids)-1 {
			for j, v := range logits {
				worst = max(worst, math.Abs(float64(v)-want[i*m.Config.Vocab+j]))
			}
		}
	}
	if !(worst <= 1e-4) {
		t.Errorf("%s: token by token, logits differ by %.3g", name, worst)
	}
}

// TestVariantsAgree does the same with forms of the families that have no tiny configuration of their own.
func TestVariantsAgree(t *testing.T) {
	factors := []float64{1, 1.5, 3}
	for _, c := range []struct {
		name, base string
		change     map[string]any
	}{
		{"bloom of 12 heads", "bloom", map[string]any{"hidden_size": 48, "n_head": 12}},
		{"bloom on normalised residuals", "bloom", map[string]any{"apply_residual_connection_post_layernorm": true}},
		{"mpt of 12 heads, clamped", "mpt", map[string]any{"d_model": 48, "n_heads": 12, "attn_config": map[string]any{"clip_qkv": 0.5, "softmax_scale": 0.4}}},
		{"falcon-rw of 12 heads", "falcon_rw", map[string]any{"hidden_size": 48, "num_attention_heads": 12, "transformers_version": "4.27.4"}},
		{"falcon-11b", "falcon_new_decoder", map[string]any{"num_ln_in_parallel_attn": 1}},
		{"falcon in sequence", "falcon_7b", map[string]any{"parallel_attn": false, "bias": true}},
		{"gpt_neox in sequence", "gpt_neox", map[string]any{"use_parallel_residual": false, "attention_bias": false}},
		{"stablelm parallel", "stablelm", map[string]any{"use_parallel_residual": true, "qk_layernorm": true, "use_qkv_bias": true}},
		{"cohere", "cohere", map[string]any{"use_qk_norm": false, "attention_bias": true}},
		{"cohere normalised", "cohere", map[string]any{"use_qk_norm": true}},
		{"gpt_bigcode", "gpt_bigcode", map[string]any{"multi_query": false}},
		{"gpt2 by layer", "gpt2", map[string]any{"scale_attn_by_inverse_layer_idx": true}},
		{"opt-350m", "opt", map[string]any{"do_layer_norm_before": false, "word_embed_proj_dim": 12}},
		{"opt bare", "opt", map[string]any{"enable_bias": false, "layer_norm_elementwise_affine": false, "_remove_final_layer_norm": true}},
		{"olmo clamped", "olmo", map[string]any{"clip_qkv": 0.3}},
		{"llama yarn", "llama", map[string]any{"rope_scaling": map[string]any{"type": "yarn", "factor": 9.0, "original_max_position_embeddings": 16}}},
		{"llama dynamic", "llama", map[string]any{"max_position_embeddings": 8, "rope_scaling": map[string]any{"type": "dynamic", "factor": 4.0}}},
		{"phi-4-mini", "phi3", map[string]any{"partial_rotary_factor": 0.75, "original_max_position_embeddings": 8, "num_key_value_heads": 2, "tie_word_embeddings": true,
			"rope_scaling": map[string]any{"type": "longrope", "short_factor": factors, "long_factor": []float64{2, 4, 8}}}},
		{"smollm3 sliding", "smollm3", map[string]any{"use_sliding_window": true, "sliding_window": 5, "no_rope_layers": []int{0, 1, 0, 1}}},
		{"qwen2_moe, every second", "qwen2_moe", map[string]any{"decoder_sparse_step": 2, "norm_topk_prob": true, "qkv_bias": false}},
		{"qwen3_moe not normalised", "qwen3_moe", map[string]any{"norm_topk_prob": false, "mlp_only_layers": nil, "attention_bias": true}},
		{"mixtral sliding", "mixtral", map[string]any{"sliding_window": 3}},
		{"phi, wide heads", "phi", map[string]any{"head_dim": 12}},
		{"phi3, wide heads", "phi3", map[string]any{"head_dim": 12}},
		{"olmo, narrow heads", "olmo", map[string]any{"head_dim": 2}},
		{"olmo2, wide heads", "olmo2", map[string]any{"head_dim": 12}},
		{"cohere, narrow heads", "cohere", map[string]any{"head_dim": 2, "use_qk_norm": true}},
		{"starcoder2, wide heads", "starcoder2", map[string]any{"head_dim": 12}},
		{"gemma3 of one type", "gemma3_text", map[string]any{"layer_types": nil, "sliding_window_pattern": 1}},
	} {
		agree(t, c.name, changed(t, c.base, c.change), text)
	}
}
