package model_test

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/gguf"
)

// plainFreq is the rotary frequency of pair i among d values.
func plainFreq(theta float64, i, d int) float64 {
	return math.Exp(-2 * float64(i) / float64(d) * math.Log(theta))
}

// TestRopeTables computes the tables of every kind of scaling again from the papers' formulas.
func TestRopeTables(t *testing.T) {
	linear := func(factor float64) func(i, d, n int) float64 {
		return func(i, d, n int) float64 { return plainFreq(1e4, i, d) / factor }
	}
	dynamic := func(i, d, n int) float64 {
		theta := 1e4
		if n > 128 {
			theta *= math.Pow(4*float64(n)/128-3, float64(d)/float64(d-2))
		}
		return plainFreq(theta, i, d)
	}
	// yarn interpolates pairs that turn less than once within the original context, keeps those that turn more than 32 times,
	// and blends between; the borders are rounded outwards.
	yarn := func(original, factor, fast, slow float64) func(i, d, n int) float64 {
		return func(i, d, n int) float64 {
			pair := func(turns float64) float64 { // the pair, as a real number, that turns so often
				return float64(d) / 2 * math.Log(original/(2*math.Pi*turns)) / math.Log(1e4)
			}
			lo, hi := max(math.Floor(pair(fast)), 0), min(math.Ceil(pair(slow)), float64(d-1))
			keep := 1 - min(max((float64(i)-lo)/(hi-lo), 0), 1)
			f := plainFreq(1e4, i, d)
			return keep*f + (1-keep)*f/factor
		}
	}
	llama3 := func(i, d, n int) float64 {
		f := plainFreq(1e4, i, d)
		turns := 64 * f / (2 * math.Pi) // within the original context
		blend := min(max((turns-1)/(4-1), 0), 1)
		return blend*f + (1-blend)*f/8
	}
	divided := func(by ...float64) func(i, d, n int) float64 {
		return func(i, d, n int) float64 { return plainFreq(1e4, i, d) / by[i] }
	}
	yarnKeys := func(more map[string]any) map[string]any {
		s := map[string]any{"rope_type": "yarn", "factor": 4.0}
		for k, v := range more {
			s[k] = v
		}
		return s
	}
	short, long := []float64{1, 1.1, 1.2, 1.3}, []float64{2, 3, 5, 8}
	longrope := map[string]any{"rope_scaling": map[string]any{"type": "longrope", "short_factor": short, "long_factor": long},
		"original_max_position_embeddings": 32}
	newLongrope := map[string]any{"rope_scaling": nil, "original_max_position_embeddings": nil, "rope_parameters": map[string]any{
		"rope_type": "longrope", "short_factor": short, "long_factor": long, "rope_theta": 1e4, "original_max_position_embeddings": 32}}
	longMagnitude := math.Sqrt(1 + math.Log(4)/math.Log(32))
	log4 := 1 + 0.1*math.Log(4)
	for _, c := range []struct {
		name, base string
		change     map[string]any
		tokens     int
		freq       func(i, d, n int) float64
		magnitude  float64
	}{
		{"default", "llama", map[string]any{"rope_scaling": map[string]any{"rope_type": "default"}}, 9, linear(1), 1},
		{"linear", "llama", map[string]any{"rope_scaling": map[string]any{"type": "linear", "factor": 2.5}}, 9, linear(2.5), 1},
		{"dynamic, short", "llama", map[string]any{"rope_scaling": map[string]any{"type": "dynamic", "factor": 4.0}}, 128, dynamic, 1},
		{"dynamic, long", "llama", map[string]any{"rope_scaling": map[string]any{"type": "dynamic", "factor": 4.0}}, 200, dynamic, 1},
		{"dynamic, partial", "gpt_neox", map[string]any{"rotary_pct": 0.5, "partial_rotary_factor": nil,
			"rope_scaling": map[string]any{"type": "dynamic", "factor": 4.0}}, 200, dynamic, 1},
		{"yarn by factor", "llama", map[string]any{"rope_scaling": yarnKeys(nil)}, 9, yarn(128, 4, 32, 1), log4},
		{"yarn by contexts", "llama", map[string]any{"rope_scaling": yarnKeys(map[string]any{"factor": 9.0,
			"original_max_position_embeddings": 32})}, 9, yarn(32, 4, 32, 1), log4},
		{"yarn beyond the last pair", "llama", map[string]any{"max_position_embeddings": 32768, "rope_scaling": yarnKeys(map[string]any{
			"original_max_position_embeddings": 8192})}, 9, yarn(8192, 4, 32, 1), log4},
		{"yarn, other borders", "llama", map[string]any{"rope_scaling": yarnKeys(map[string]any{"beta_fast": 8, "beta_slow": 2,
			"attention_factor": 1.25})}, 9, yarn(128, 4, 8, 2), 1.25},
		{"yarn, two mscales", "llama", map[string]any{"rope_scaling": yarnKeys(map[string]any{"mscale": 0.7, "mscale_all_dim": 1.4})}, 9,
			yarn(128, 4, 32, 1), (1 + 0.07*math.Log(4)) / (1 + 0.14*math.Log(4))},
		{"llama3", "llama", map[string]any{"rope_scaling": map[string]any{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
			"high_freq_factor": 4.0, "original_max_position_embeddings": 64}}, 9, llama3, 1},
		{"longrope, short", "phi3", longrope, 32, divided(short...), longMagnitude},
		{"longrope, long", "phi3", longrope, 33, divided(long...), longMagnitude},
		{"longrope by its first names", "phi3", map[string]any{"original_max_position_embeddings": 32, "rope_scaling": map[string]any{
			"type": "su", "short_factor": short, "long_factor": long}}, 33, divided(long...), longMagnitude},
		{"longrope called yarn", "phi3", map[string]any{"original_max_position_embeddings": 32, "rope_scaling": map[string]any{
			"type": "yarn", "short_factor": short, "long_factor": long}}, 33, divided(long...), longMagnitude},
		{"longrope in rope_parameters", "phi3", newLongrope, 33, divided(long...), longMagnitude},
		// Phi-4-mini: three quarters of each head rotate, and the tables are as short.
		{"longrope, partial", "phi3", map[string]any{"partial_rotary_factor": 0.75, "original_max_position_embeddings": 32, "rope_scaling": map[string]any{
			"type": "longrope", "short_factor": short[:3], "long_factor": long[:3]}}, 33, divided(long[:3]...), longMagnitude},
	} {
		cfg := models.Variant(t, c.base, c.change)
		r := cfg.Layers[0].Rope
		want := cfg.Layers[0].HeadDim
		if strings.HasSuffix(c.name, "partial") {
			want = map[string]int{"phi3": 6, "gpt_neox": want / 2}[c.base]
		}
		freq, magnitude := r.Frequencies(c.tokens)
		if r.Dim != want || len(freq) != want/2 {
			t.Errorf("%s: %d values rotate, want %d", c.name, r.Dim, want)
		}
		if math.Abs(magnitude-c.magnitude) > 1e-9 {
			t.Errorf("%s: magnitude %v, want %v", c.name, magnitude, c.magnitude)
		}
		for i, f := range freq {
			if w := c.freq(i, r.Dim, c.tokens); math.Abs(f-w) > 1e-6*w {
				t.Errorf("%s: frequency %d is %v, want %v", c.name, i, f, w)
			}
		}
	}
}

// TestYarnGGUF keeps the tables by way of a GGUF file's metadata, also where the file gives the context before stretching.
func TestYarnGGUF(t *testing.T) {
	for _, attention := range []any{nil, 1.3} {
		s := map[string]any{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
		if attention != nil {
			s["attention_factor"] = attention
		}
		c := models.Variant(t, "llama", map[string]any{"rope_scaling": s})
		path, _ := saveGGUF(t, models.Of(t, c, 1))
		for _, context := range []uint32{128, 32} {
			other, err := model.Open(stripGGUF(t, path, func(m *gguf.Metadata) { m.Set("llama.context_length", context) }))
			if err != nil {
				t.Fatal(err)
			}
			want, magnitude := c.Layers[0].Rope.Frequencies(9)
			got, m := other.Config.Layers[0].Rope.Frequencies(9)
			if other.Close(); math.Abs(m-magnitude) > 1e-6 {
				t.Errorf("context %d: magnitude %v, want %v", context, m, magnitude)
			}
			for i := range want {
				if math.Abs(got[i]-want[i]) > 1e-6*want[i] {
					t.Errorf("context %d: frequency %d is %v, want %v", context, i, got[i], want[i])
				}
			}
		}
	}
}

// TestYarnWarning: a factor that the two contexts overrule is worth a word.
func TestYarnWarning(t *testing.T) {
	for factor, want := range map[float64]int{4: 0, 2: 1} {
		c := models.Variant(t, "llama", map[string]any{"rope_scaling": map[string]any{"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": 32}})
		path := t.TempDir()
		if err := models.Of(t, c, 1).SaveHF(context.Background(), dir(path)); err != nil {
			t.Fatal(err)
		}
		m, err := model.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if m.Close(); len(m.Warnings) != want {
			t.Errorf("factor %g: warnings %q", factor, m.Warnings)
		}
	}
}
