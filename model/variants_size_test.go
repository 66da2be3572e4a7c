package model_test

import (
	"testing"

	"github.com/parelm/pare/model"
)

// TestPublishedSizes counts the parameters of published models whose variants have no checkpoint among the tests: a norm, a bias
// or a matrix too many or too few shows. The keys are those of their config.json that matter; each count was looked up: what the
// model's page says, or what public code and logs report of the loaded model.
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
		{"LFM2-1.2B", `{"model_type":"lfm2", "hidden_size":2048, "num_hidden_layers":16, "block_ff_dim":12288, "full_attn_idxs":[2,5,8,10,12,14]}`, 1_170_340_608},
		{"granite-3.1-1b-a400m", `{"model_type":"granitemoe", "hidden_size":1024, "intermediate_size":512, "num_hidden_layers":24, "num_attention_heads":16,
			"num_key_value_heads":8, "num_local_experts":32, "num_experts_per_tok":8, "vocab_size":49155, "tie_word_embeddings":true}`, 1_334_628_352},
		{"Qwen1.5-MoE-A2.7B", `{"model_type":"qwen2_moe"}`, 14_315_784_192},
		{"Mixtral-8x7B", `{"model_type":"mixtral"}`, 46_702_792_704},
		{"OLMoE-1B-7B", `{"model_type":"olmoe", "intermediate_size":1024}`, 6_919_161_856},
		{"Phi-4-mini", `{"model_type":"phi3", "num_attention_heads":24, "num_key_value_heads":8, "vocab_size":200064, "tie_word_embeddings":true,
			"partial_rotary_factor":0.75}`, 3_836_021_760},
		{"falcon-7b", `{"model_type":"RefinedWebModel", "n_head":71, "n_layer":32, "multi_query":true, "parallel_attn":true, "bias":false}`,
			7_217_189_760 - 65024*4544}, // the page counts the head apart, which is the embedding
		{"starcoderbase-1b", `{"model_type":"gpt_bigcode", "n_embd":2048, "n_head":16, "n_inner":8192, "n_layer":24, "n_positions":8192,
			"vocab_size":49152}`, 1_137_207_296},
		{"OLMo-1B", `{"model_type":"olmo", "hidden_size":2048, "intermediate_size":8192, "num_hidden_layers":16, "num_attention_heads":16,
			"tie_word_embeddings":true}`, 1_176_764_416},
		{"gemma-2-2b", `{"model_type":"gemma2"}`, 2_614_341_888},
		{"gemma-3-1b", `{"model_type":"gemma3_text", "hidden_size":1152, "intermediate_size":6912, "num_attention_heads":4, "num_key_value_heads":1,
			"vocab_size":262144}`, 999_885_952},
		{"Llama-3.2-1B", `{"model_type":"llama", "hidden_size":2048, "intermediate_size":8192, "num_hidden_layers":16, "num_key_value_heads":8,
			"head_dim":64, "vocab_size":128256, "tie_word_embeddings":true}`, 1_235_814_400},
		{"Llama-3.1-8B", `{"model_type":"llama", "intermediate_size":14336, "num_key_value_heads":8, "vocab_size":128256}`, 8_030_261_248},
		{"SmolLM2-135M", `{"model_type":"llama", "hidden_size":576, "intermediate_size":1536, "num_hidden_layers":30, "num_attention_heads":9,
			"num_key_value_heads":3, "vocab_size":49152, "tie_word_embeddings":true}`, 134_515_008},
		{"SmolLM2-360M", `{"model_type":"llama", "hidden_size":960, "intermediate_size":2560, "num_hidden_layers":32, "num_attention_heads":15,
			"num_key_value_heads":5, "vocab_size":49152, "tie_word_embeddings":true}`, 361_821_120},
		{"SmolLM2-1.7B", `{"model_type":"llama", "hidden_size":2048, "intermediate_size":8192, "num_hidden_layers":24, "vocab_size":49152,
			"tie_word_embeddings":true}`, 1_711_376_384},
		{"Qwen2.5-0.5B", `{"model_type":"qwen2", "hidden_size":896, "intermediate_size":4864, "num_hidden_layers":24, "num_attention_heads":14,
			"num_key_value_heads":2, "tie_word_embeddings":true}`, 494_032_768},
		{"Qwen3-0.6B", `{"model_type":"qwen3", "hidden_size":1024, "intermediate_size":3072, "num_hidden_layers":28, "num_attention_heads":16,
			"num_key_value_heads":8, "tie_word_embeddings":true}`, 596_049_920},
		{"Phi-3-mini", `{"model_type":"phi3"}`, 3_821_079_552},
		{"OLMo-2-0425-1B", `{"model_type":"olmo2", "hidden_size":2048, "intermediate_size":8192, "num_hidden_layers":16, "num_attention_heads":16,
			"vocab_size":100352}`, 1_484_916_736},
		{"stablelm-2-1_6b", `{"model_type":"stablelm", "hidden_size":2048, "intermediate_size":5632, "num_hidden_layers":24, "vocab_size":100352,
			"use_qkv_bias":true}`, 1_644_515_328},
		{"gpt2", `{"model_type":"gpt2"}`, 124_439_808},
		{"gpt-neo-125m", `{"model_type":"gpt_neo", "hidden_size":768, "num_layers":12, "num_heads":12, "attention_types":[[["global","local"],6]]}`, 125_198_592},
		{"opt-125m", `{"model_type":"opt", "hidden_size":768, "ffn_dim":3072, "num_hidden_layers":12, "num_attention_heads":12, "vocab_size":50272}`, 125_239_296},
		{"mamba-130m", `{"model_type":"mamba", "hidden_size":768, "num_hidden_layers":24, "vocab_size":50280}`, 129_135_360},
		{"granite-3.0-2b", `{"model_type":"granite", "hidden_size":2048, "intermediate_size":8192, "num_hidden_layers":40, "num_key_value_heads":8,
			"vocab_size":49155, "tie_word_embeddings":true}`, 2_533_531_648},
		{"glm-4-9b-chat", `{"model_type":"glm"}`, 9_399_951_360},
		{"GLM-4-9B-0414", `{"model_type":"glm4"}`, 9_400_279_040},
		{"Seed-OSS-36B", `{"model_type":"seed_oss", "hidden_size":5120}`, 36_151_104_512},
		{"ERNIE-4.5-0.3B", `{"model_type":"ernie4_5"}`, 360_748_032},
		{"MiniCPM-2B", `{"model_type":"minicpm", "hidden_size":2304, "intermediate_size":5760, "num_hidden_layers":40, "num_attention_heads":36,
			"vocab_size":122753}`, 2_724_880_896},
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
