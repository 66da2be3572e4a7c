//go:build unix

package recipes

import "testing"

// rounded is a recipe that makes a model and quantizes it with error feedback, once with scales moved before.
const rounded = `
data: {train: ./text.txt, calib: ./text.txt}
seed: 5
stages:
  - name: fresh
    init:
      config: {hidden_size: 64, intermediate_size: 96, num_hidden_layers: 3, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 64, rms_norm_eps: 1e-5}
      tokenizer: {vocab_size: 300}
  - name: gptq
    quantize: {format: q4_0, algorithm: gptq, num_calibration_samples: 12}
  - name: awq
    from: fresh
    quantize: {format: w4a16, group_size: 32, algorithm: awq, num_calibration_samples: 8}
`

// TestKillQuantizing kills runs that quantize, with a journal although the model is small.
func TestKillQuantizing(t *testing.T) {
	defer func(n int64) { journalBytes = n }(journalBytes)
	journalBytes = 0
	killAtRandom(t, rounded, 9, 2, "layers.*")
}
