package model_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/safetensors"
)

// TestLanguageModels opens checkpoints that see pictures, in the layouts of several programs, and expects the language model that was put
// into them; what is written of it is a checkpoint of that model alone.
func TestLanguageModels(t *testing.T) {
	mrope := map[string]any{"type": "mrope", "mrope_section": []int{2, 1, 1}}
	for _, c := range []struct {
		kind, base string
		change     map[string]any                // of the language model's keys
		name       func(name string) string      // of its tensors
		config     func(text map[string]any) any // of the whole
	}{
		{"gemma3", "gemma3_text", nil, func(n string) string { return "language_model." + n }, nil},
		{"gemma3", "gemma3_text", nil, func(n string) string { return strings.Replace(n, "model.", "model.language_model.", 1) }, nil},
		{"mistral3", "mistral", nil, func(n string) string { return "language_model." + n }, nil},
		{"llava", "llama", nil, func(n string) string { return "language_model." + n }, nil},
		{"smolvlm", "llama", nil, func(n string) string { return strings.Replace(n, "model.", "model.text_model.", 1) }, nil},
		{"qwen2_5_vl", "qwen2", map[string]any{"model_type": "qwen2_5_vl_text", "rope_scaling": mrope}, func(n string) string { return strings.Replace(n, "model.", "model.language_model.", 1) }, nil},
		{"qwen2_vl", "qwen2", map[string]any{"rope_scaling": mrope}, func(n string) string { return n }, func(text map[string]any) any {
			text["model_type"], text["vision_config"] = "qwen2_vl", map[string]any{"depth": 32}
			return text
		}},
		{"qwen3_vl", "qwen3", map[string]any{"model_type": "qwen3_vl_text", "rope_theta": nil, "rope_scaling": map[string]any{"rope_type": "default", "mrope_interleaved": true, "mrope_section": []int{2, 1, 1}}},
			func(n string) string { return strings.Replace(n, "model.", "model.language_model.", 1) }, nil},
	} {
		t.Run(c.kind, func(t *testing.T) {
			keys := models.Keys(t, c.base)
			theta := keys["rope_theta"]
			if c.kind == "qwen3_vl" { // its own default
				theta = 10000.0
			}
			m := models.Of(t, models.Variant(t, c.base, map[string]any{"rope_theta": theta}), 1)
			path := t.TempDir()
			if err := m.SaveHF(context.Background(), dir(path)); err != nil {
				t.Fatal(err)
			}
			renamed := renameTensors(t, path, c.name)
			text := keys
			for k, v := range c.change {
				if text[k] = v; v == nil {
					delete(text, k)
				}
			}
			delete(text, "architectures")
			var whole any = map[string]any{"architectures": []string{"SeesForConditionalGeneration"}, "model_type": c.kind, "text_config": text, "vision_config": map[string]any{"hidden_size": 8}}
			if c.config != nil {
				whole = c.config(text)
			}
			data, err := json.Marshal(whole)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(renamed, "config.json"), data, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := model.Open(renamed)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if len(got.Warnings) == 0 || !strings.Contains(got.Warnings[len(got.Warnings)-1], "pictures") {
				t.Errorf("no word of pictures in %q", got.Warnings)
			}
			same := func(m, n *model.Model) {
				t.Helper()
				for _, w := range m.Graph.Weights {
					a, err := m.Tensor(w).Float32()
					if err != nil {
						t.Fatal(err)
					}
					b, err := n.Tensor(n.Graph.Weight(w.Name)).Float32()
					if err != nil {
						t.Fatal(err)
					}
					for i := range a {
						if a[i] != b[i] {
							t.Fatalf("%s differs", w.Name)
						}
					}
				}
				a, b := logits(t, m), logits(t, n)
				for i := range a {
					if a[i] != b[i] {
						t.Fatalf("logit %d is %g, want %g", i, b[i], a[i])
					}
				}
			}
			same(m, got)
			alone := t.TempDir()
			if err := got.SaveHF(context.Background(), dir(alone)); err != nil {
				t.Fatal(err)
			}
			conf, err := os.ReadFile(filepath.Join(alone, "config.json"))
			if err != nil || strings.Contains(string(conf), "text_config") || strings.Contains(string(conf), "mrope") || !strings.Contains(string(conf), "CausalLM") {
				t.Errorf("wrote %s (%v)", conf, err)
			}
			back, err := model.Open(alone)
			if err != nil {
				t.Fatal(err)
			}
			defer back.Close()
			same(m, back)
		})
	}
}

// renameTensors copies the weights of a directory under other names, beside one that is not the language model's.
func renameTensors(t *testing.T, path string, name func(string) string) string {
	t.Helper()
	files, err := safetensors.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	var infos []safetensors.Info
	for _, x := range files.Tensors() {
		infos = append(infos, safetensors.Info{Name: name(x.Name), Codec: x.Codec, Shape: x.Shape})
	}
	first := files.Tensors()[0]
	infos = append(infos, safetensors.Info{Name: "vision_tower.patch", Codec: first.Codec, Shape: first.Shape})
	out := t.TempDir()
	f, err := os.Create(filepath.Join(out, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := safetensors.NewWriter(f, infos, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range append(files.Tensors(), first) {
		raw, err := x.ReadRaw(0, x.Rows())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteRows(infos[i].Name, 0, raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestLanguageModelsRefused names what is missing or not computed.
func TestLanguageModelsRefused(t *testing.T) {
	for config, says := range map[string]string{
		`{"model_type":"gemma3","vision_config":{}}`:                                              "no text_config",
		`{"model_type":"gemma3","text_config":7}`:                                                 "text_config",
		`{"model_type":"llava","text_config":{}}`:                                                 "text_config",
		`{"model_type":"llava","text_config":{"model_type":5}}`:                                   "model_type",
		`{"model_type":"llava","text_config":{"model_type":"opera"}}`:                             `"opera"`,
		`{"model_type":"mistral3","text_config":{"model_type":"mamba2"}}`:                         "first Mamba",
		`{"model_type":"paligemma","text_config":{"model_type":"gemma"}}`:                         "both directions",
		`{"model_type":"qwen3_vl","text_config":{"model_type":"qwen3_vl_text","rope_scaling":1}}`: "rope_scaling",
	} {
		_, err := model.ParseConfig("config.json", []byte(config))
		if err == nil || !errors.Is(err, model.ErrUnsupported) && !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", config, err)
		}
	}
}
