package model_test

import (
	"context"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// TestLFM2Layers checks which layers are convolutions and how wide the feed-forward blocks are.
func TestLFM2Layers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change map[string]any
		conv   [3]int
		ffn    int
	}{
		{"by list", nil, [3]int{3, 0, 3}, 48}, // 2/3 of 64, a multiple of 8
		{"by type", map[string]any{"layer_types": []string{"full_attention", "conv", "full_attention"}}, [3]int{0, 3, 0}, 48},
		{"attention everywhere", map[string]any{"full_attn_idxs": nil}, [3]int{}, 48},
		{"as stated", map[string]any{"block_auto_adjust_ff_dim": false, "conv_L_cache": 4}, [3]int{4, 0, 4}, 64},
		{"a factor", map[string]any{"block_ffn_dim_multiplier": 1.5}, [3]int{3, 0, 3}, 64}, // 1.5 * 42 = 63
		{"no factor", map[string]any{"block_ffn_dim_multiplier": nil, "block_multiple_of": 1}, [3]int{3, 0, 3}, 42},
	} {
		for i, l := range models.Variant(t, "lfm2", c.change).Layers {
			if l.Conv != c.conv[i] || l.FFN != c.ffn {
				t.Errorf("%s: layer %d has %d taps and a width of %d", c.name, i, l.Conv, l.FFN)
			}
		}
	}
	for says, change := range map[string]map[string]any{
		"conv_L_cache":      {"conv_L_cache": 0},
		"1 to 1024":         {"conv_L_cache": 1 << 30},
		"block_multiple_of": {"block_multiple_of": 0},
		"entries":           {"layer_types": []string{"conv"}},
		"layer 2":           {"layer_types": []string{"conv", "conv", "linear_attention"}},
		"intermediate size": {"block_ffn_dim_multiplier": 1e12},
	} {
		if _, err := model.ParseConfig("config.json", models.JSON(t, "lfm2", change)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v", change, err)
		}
	}
	if _, err := model.ParseConfig("config.json", models.JSON(t, "lfm2", map[string]any{"block_ffn_dim_multiplier": -1.0})); err == nil {
		t.Error("a negative width is read")
	}
}

// TestHeadsOfHybrids takes heads from the layers that attend and writes what config.json says of all.
func TestHeadsOfHybrids(t *testing.T) {
	for _, name := range []string{"lfm2", "qwen3_5", "qwen3_5_moe"} {
		m := models.Model(t, name, 1)
		sel := model.Selection{}
		for _, a := range m.Graph.Axes {
			if a.Kind == model.AxisKVHeads {
				sel[a.Name] = []int{1}
			}
		}
		small, err := m.Shrink(sel)
		if err != nil {
			t.Fatal(err)
		}
		path := t.TempDir()
		if err := small.SaveHF(context.Background(), dir(path)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		back, err := model.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		sameModel(t, back, small)
		back.Close()
	}
}
