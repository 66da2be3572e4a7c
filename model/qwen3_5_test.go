package model_test

import (
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// TestQwen35Layers checks which layers are gated delta networks.
func TestQwen35Layers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change map[string]any
		linear [3]bool
	}{
		{"every third attends", nil, [3]bool{true, true, false}},
		{"every fourth attends", map[string]any{"full_attention_interval": nil}, [3]bool{true, true, true}},
		{"by type", map[string]any{"layer_types": []string{"full_attention", "linear_attention", "full_attention"}}, [3]bool{false, true, false}},
	} {
		for i, l := range models.Variant(t, "qwen3_5", c.change).Layers {
			if (l.Delta != nil) != c.linear[i] || !l.AttnGate || l.Rope.Dim != 4 {
				t.Errorf("%s: layer %d is %+v", c.name, i, l)
			}
		}
	}
	for says, change := range map[string]map[string]any{
		"do not divide":          {"linear_num_value_heads": 5},
		"linear_num_key_heads":   {"linear_num_key_heads": 0},
		"linear_key_head_dim":    {"linear_key_head_dim": 1 << 30},
		"linear_conv_kernel_dim": {"linear_conv_kernel_dim": -1},
		"the limit is 4194304":   {"linear_num_value_heads": 4096, "linear_key_head_dim": 4096, "linear_value_head_dim": 4096},
		"entries":                {"layer_types": []string{"full_attention"}},
		"layer 1":                {"layer_types": []string{"full_attention", "conv", "full_attention"}},
	} {
		if _, err := model.ParseConfig("config.json", models.JSON(t, "qwen3_5", change)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v", change, err)
		}
	}
}
