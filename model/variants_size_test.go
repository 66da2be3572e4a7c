package model_test

import (
	"testing"

	"github.com/parelm/pare/model"
)

// TestPublishedSizes counts the parameters of published models whose variants have no checkpoint among the tests: a norm, a bias
// or a matrix too many or too few shows. The keys are those of their config.json that matter, the counts their pages'.
func TestPublishedSizes(t *testing.T) {
	for _, c := range []struct {
		name, config string
		want         int64
	}{
		{"bloom-560m", `{"model_type":"bloom", "n_embed":1024, "n_layer":24, "num_attention_heads":16, "vocab_size":250880}`, 559_214_592},
		{"opt-350m", `{"model_type":"opt", "hidden_size":1024, "ffn_dim":4096, "num_hidden_layers":24, "num_attention_heads":16, "vocab_size":50272,
			"do_layer_norm_before":false, "word_embed_proj_dim":512}`, 331_196_416},
		{"pythia-160m", `{"model_type":"gpt_neox", "hidden_size":768, "intermediate_size":3072, "num_hidden_layers":12, "num_attention_heads":12,
			"vocab_size":50304, "rotary_pct":0.25}`, 162_322_944},
		{"SmolLM3-3B", `{"model_type":"smollm3", "rope_theta":5000000.0}`, 3_075_098_624},
		{"Qwen3-30B-A3B", `{"model_type":"qwen3_moe", "num_hidden_layers":48, "head_dim":128, "mlp_only_layers":[], "norm_topk_prob":true}`, 30_532_122_624},
		{"Qwen1.5-MoE-A2.7B", `{"model_type":"qwen2_moe"}`, 14_315_784_192},
		{"Mixtral-8x7B", `{"model_type":"mixtral"}`, 46_702_792_704},
		{"OLMoE-1B-7B", `{"model_type":"olmoe", "intermediate_size":1024}`, 6_919_161_856},
		{"Phi-4-mini", `{"model_type":"phi3", "num_attention_heads":24, "num_key_value_heads":8, "vocab_size":200064, "tie_word_embeddings":true,
			"partial_rotary_factor":0.75}`, 3_836_021_760},
		{"mpt-7b", `{"model_type":"mpt", "d_model":4096, "n_layers":32, "n_heads":32, "vocab_size":50432}`, 6_649_286_656},
		{"falcon-7b", `{"model_type":"RefinedWebModel", "n_head":71, "n_layer":32, "multi_query":true, "parallel_attn":true, "bias":false}`, 6_921_720_704},
		{"starcoderbase-1b", `{"model_type":"gpt_bigcode", "n_embd":2048, "n_head":16, "n_inner":8192, "n_layer":24, "n_positions":8192,
			"vocab_size":49152}`, 1_137_207_296},
		{"c4ai-command-r-v01", `{"model_type":"cohere"}`, 34_980_831_232},
		{"OLMo-1B", `{"model_type":"olmo", "hidden_size":2048, "intermediate_size":8192, "num_hidden_layers":16, "num_attention_heads":16,
			"tie_word_embeddings":true}`, 1_176_764_416},
		{"gemma-2-2b", `{"model_type":"gemma2"}`, 2_614_341_888},
		{"gemma-3-1b", `{"model_type":"gemma3_text", "hidden_size":1152, "intermediate_size":6912, "num_attention_heads":4, "num_key_value_heads":1,
			"vocab_size":262144}`, 999_885_952},
	} {
		cfg, err := model.ParseConfig(c.name, []byte(c.config))
		if err != nil {
			t.Error(err)
			continue
		}
		if n := model.Draw(cfg).Parameters(); n != c.want {
			t.Errorf("%s: %d parameters, want %d", c.name, n, c.want)
		}
	}
}
