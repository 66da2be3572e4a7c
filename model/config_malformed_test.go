package model_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/internal/malformed"
	"github.com/parelm/pare/model/tensor"
)

// llamaFiles writes a valid tiny checkpoint.
func llamaFiles(t *testing.T) (path string, config map[string]any) {
	t.Helper()
	path = t.TempDir()
	if err := models.Model(t, "llama", 1).SaveHF(context.Background(), dir(path)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(path, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	return path, config
}

// openCloser opens a model as malformed wants it.
func openCloser(path string) func() (io.Closer, error) {
	return func() (io.Closer, error) {
		m, err := model.Open(path)
		if err != nil {
			return nil, err
		}
		return m, nil
	}
}

// TestMalformedConfig changes one key of a valid config.json at a time.
func TestMalformedConfig(t *testing.T) {
	invalid, corrupt, large, unsupported := model.ErrInvalid, model.ErrCorrupt, model.ErrTooLarge, model.ErrUnsupported
	for _, c := range []struct {
		name, key, value string // the value as JSON; "" deletes the key
		class            error
		texts            []string
	}{
		{"C03 architectures unknown", "architectures", `["BertForMaskedLM"]`, unsupported, []string{"architectures", "BertForMaskedLM"}},
		{"C03 architectures two", "architectures", `["LlamaForCausalLM","PhiForCausalLM"]`, invalid, []string{"architectures", "2 classes"}},
		{"C03 architectures no list", "architectures", `"LlamaForCausalLM"`, invalid, []string{"architectures", "list of strings"}},
		{"C03 model_type unknown", "model_type", `"llama9"`, unsupported, []string{"model_type", "llama9", "known are"}},
		{"C03 model_type missing", "model_type", ``, unsupported, []string{"model_type"}},
		{"C04 hidden 0", "hidden_size", `0`, invalid, []string{"hidden"}},
		{"C04 hidden -1", "hidden_size", `-1`, invalid, []string{"hidden"}},
		{"C04 hidden 1e9", "hidden_size", `1e9`, large, []string{"hidden size", "limit is 65536"}},
		{"C04 hidden text", "hidden_size", `"768"`, invalid, []string{"hidden_size", `"768"`, "integer"}},
		{"C04 hidden half", "hidden_size", `64.5`, invalid, []string{"hidden_size", "64.5"}},
		{"C05 heads 0", "num_attention_heads", `0`, invalid, []string{"heads"}},
		{"C05 heads -8", "num_attention_heads", `-8`, invalid, []string{"heads"}},
		{"C05 heads 2000", "num_attention_heads", `2000`, invalid, []string{"2000", "1024"}},
		{"C06 kv heads over heads", "num_key_value_heads", `16`, invalid, []string{"16 key/value heads", "8 attention heads"}},
		{"C06 kv heads not dividing", "num_key_value_heads", `3`, invalid, []string{"3 key/value heads"}},
		{"C06 kv heads 0", "num_key_value_heads", `0`, invalid, []string{"key/value heads"}},
		{"C07 head_dim odd", "head_dim", `7`, invalid, []string{"rotary dimension is 7"}},
		{"C07 head_dim 0", "head_dim", `0`, invalid, []string{"head dimension is 0"}},
		{"C08 layers 0", "num_hidden_layers", `0`, invalid, []string{"num_hidden_layers", "is 0"}},
		{"C08 layers 10^6", "num_hidden_layers", `1000000`, large, []string{"num_hidden_layers", "1000000", "1024"}},
		{"C09 vocab over the embedding's rows", "vocab_size", `129`, invalid, []string{"embed_tokens.weight", "[128 64]", "[129 64]"}},
		{"C09 vocab 10^9", "vocab_size", `1000000000`, large, []string{"vocabulary size"}},
		{"C10 theta 0", "rope_theta", `0`, invalid, []string{"theta is 0"}},
		{"C10 theta -1", "rope_theta", `-1`, invalid, []string{"theta is -1"}},
		{"C10 theta 1e400", "rope_theta", `1e400`, invalid, []string{"rope_theta", "1e400"}},
		{"C10 theta NaN", "rope_theta", `NaN`, corrupt, []string{"rope_theta"}},
		{"C11 eps 0", "rms_norm_eps", `0`, invalid, []string{"epsilon: is 0"}},
		{"C11 eps negative", "rms_norm_eps", `-1e-5`, invalid, []string{"epsilon: is -1e-05"}},
		{"C12 rope kind unknown", "rope_scaling", `{"rope_type":"spiral","factor":2}`, unsupported, []string{"rope_scaling", "spiral"}},
		{"C12 rope factor 0", "rope_scaling", `{"rope_type":"linear","factor":0}`, invalid, []string{"factor is 0"}},
		{"C12 rope factor missing", "rope_scaling", `{"type":"dynamic"}`, invalid, []string{"factor is 0"}},
		{"C12 rope scaling no object", "rope_scaling", `[2]`, invalid, []string{"rope_scaling", "object"}},
		{"C12 longrope tables of wrong length", "rope_scaling", `{"type":"longrope","short_factor":[1],"long_factor":[1]}`, invalid, []string{"longrope", "needs 4"}},
		{"context 10^9", "max_position_embeddings", `1000000000`, large, []string{"context length"}},
		{"ffn 0", "intermediate_size", `0`, invalid, []string{"intermediate size is 0"}},
		{"activation unknown", "hidden_act", `"gelu_42"`, unsupported, []string{"hidden_act", "gelu_42"}},
		{"nested beyond sense", "rope_scaling", strings.Repeat("[", 100000) + strings.Repeat("]", 100000), corrupt, []string{"rope_scaling"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, config := llamaFiles(t)
			delete(config, c.key)
			data, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			if c.value != "" {
				data = append([]byte(`{"`+c.key+`":`+c.value+`,`), data[1:]...)
			}
			file := filepath.Join(path, "config.json")
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
			malformed.Check(t, malformed.Want{Class: c.class, Texts: append(c.texts, path), Bytes: dirBytes(t, path)}, openCloser(path))
		})
	}
}

// TestHeadsOfSlopes gives families with alibi numbers of heads that no slopes can be made of.
func TestHeadsOfSlopes(t *testing.T) {
	for name, key := range map[string]string{"bloom": "n_head", "mpt": "n_heads", "falcon_rw": "num_attention_heads", "llama": "num_attention_heads"} {
		for _, heads := range []int{0, -4, 1 << 31} {
			data := models.JSON(t, name, map[string]any{key: heads})
			malformed.Check(t, malformed.Want{Class: model.ErrInvalid, Texts: []string{"config.json", "heads"}, Bytes: int64(len(data))}, func() (io.Closer, error) {
				_, err := model.ParseConfig("config.json", data)
				return io.NopCloser(nil), err
			})
		}
	}
}

// TestMalformedConfigFile spoils the file as a whole.
func TestMalformedConfigFile(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(data []byte) []byte
		class error
		texts []string
	}{
		{"C01 config missing", func([]byte) []byte { return nil }, model.ErrInvalid, []string{"config.json"}},
		{"C02 2 MiB", func(b []byte) []byte { return append(b, bytes.Repeat([]byte{' '}, 2<<20)...) }, model.ErrTooLarge, []string{"config.json", "limit is 1048576"}},
		{"C14 duplicate keys", func(b []byte) []byte { return append([]byte(`{"hidden_size":64,`), b[1:]...) }, model.ErrCorrupt, []string{"hidden_size", "twice"}},
		{"no object", func([]byte) []byte { return []byte("[]") }, model.ErrCorrupt, []string{"not a JSON object"}},
		{"empty", func([]byte) []byte { return []byte{} }, model.ErrCorrupt, []string{"config.json"}},
		{"cut off", func(b []byte) []byte { return b[:len(b)/2] }, model.ErrCorrupt, []string{"config.json"}},
		{"text behind", func(b []byte) []byte { return append(b, '{') }, model.ErrCorrupt, []string{"after the object"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, _ := llamaFiles(t)
			file := filepath.Join(path, "config.json")
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if data = c.spoil(data); data == nil {
				err = os.Remove(file)
			} else {
				err = os.WriteFile(file, data, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			malformed.Check(t, malformed.Want{Class: c.class, Texts: c.texts, Bytes: dirBytes(t, path)}, openCloser(path))
		})
	}
}

// TestMalformedConfigOthers holds the cases that need another family, or that are accepted with a warning.
func TestMalformedConfigOthers(t *testing.T) {
	write := func(t *testing.T, path string, config map[string]any) {
		t.Helper()
		data, err := json.Marshal(config)
		if err == nil {
			err = os.WriteFile(filepath.Join(path, "config.json"), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("C16 layer_types of another length", func(t *testing.T) {
		path, config := llamaFiles(t)
		config["model_type"], config["architectures"] = "qwen3", []string{"Qwen3ForCausalLM"}
		config["layer_types"] = []string{"full_attention"}
		write(t, path, config)
		malformed.Check(t, malformed.Want{Class: model.ErrInvalid, Texts: []string{"layer_types", "1 entries for 2 layers"}, Bytes: dirBytes(t, path)}, openCloser(path))
	})
	for _, c := range []struct {
		name, says string
		change     func(t *testing.T, path string, config map[string]any)
	}{
		{"C03 architectures empty", "", func(_ *testing.T, _ string, config map[string]any) { config["architectures"] = []string{} }},
		{"C13 torch_dtype unknown", "torch_dtype \"float13\"", func(_ *testing.T, _ string, config map[string]any) { config["torch_dtype"] = "float13" }},
		{"C15 remote code", "never run", func(_ *testing.T, _ string, config map[string]any) {
			config["auto_map"] = map[string]string{"AutoModelForCausalLM": "evil.Model"}
		}},
		{"C17 tied, yet a head of its own", "lm_head.weight differs", func(_ *testing.T, _ string, config map[string]any) { config["tie_word_embeddings"] = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, config := llamaFiles(t)
			c.change(t, path, config)
			write(t, path, config)
			m, err := model.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			text := strings.Join(m.Warnings, "\n")
			if c.says == "" && text != "" || !strings.Contains(text, c.says) || c.says != "" && len(m.Warnings) != 1 {
				t.Errorf("warnings are %q, want one that says %q", m.Warnings, c.says)
			}
		})
	}
}

// TestClaims opens configurations of a few bytes that claim the largest models there can be, beside a tensor of one byte.
func TestClaims(t *testing.T) {
	const widest = `"num_hidden_layers":1024,"hidden_size":65536,"num_attention_heads":1024,"num_key_value_heads":1024,"vocab_size":4194304,` +
		`"intermediate_size":1048576,"max_position_embeddings":16777216`
	for name, text := range map[string]string{
		"dense":               `{"model_type":"llama",` + widest + `}`,
		"fused":               `{"model_type":"gpt_neox",` + widest + `}`,
		"experts of a name":   `{"model_type":"mixtral","num_local_experts":4096,"num_experts_per_tok":4096,` + widest + `}`,
		"shared experts":      `{"model_type":"qwen2_moe","num_experts":4096,"num_experts_per_tok":4096,"moe_intermediate_size":1048576,` + widest + `}`,
		"a norm for any head": `{"model_type":"stablelm","qk_layernorm":true,` + widest + `}`,
		"recurrent":           `{"model_type":"mamba","num_hidden_layers":1024,"hidden_size":65536,"vocab_size":4194304,"state_size":65536}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			file := filepath.Join(path, "config.json")
			const header = `{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`
			for name, data := range map[string]string{"config.json": text, "model.safetensors": string(rune(len(header))) + "\x00\x00\x00\x00\x00\x00\x00" + header + "\x00"} {
				if err := os.WriteFile(filepath.Join(path, name), []byte(data), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			malformed.Check(t, malformed.Want{Class: model.ErrCorrupt, Texts: []string{path, "is missing"}, Bytes: dirBytes(t, path)}, openCloser(path))
			m, err := malformed.Measure(t, 0, func() (io.Closer, error) { return model.OpenConfig(file) })
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
		})
	}
}

// FuzzConfig gives config.json files to all families: an answer, or an error that names the file, never more memory or time
// than a small model takes.
func FuzzConfig(f *testing.F) {
	for _, name := range models.Names() {
		data, err := os.ReadFile(filepath.Join("..", "internal", "tiny", "models", "configs", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		var small bytes.Buffer
		if err := json.Compact(&small, data); err != nil {
			f.Fatal(err)
		}
		f.Add(small.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := model.ParseConfig("config.json", data)
		if err != nil {
			if _, ok := err.(*tensor.FileError); !ok {
				t.Fatalf("not a FileError: %v", err)
			}
			return
		}
		if len(c.Layers) > 8 || c.Layers[0].Experts > 64 { // drawn all the same, but not thousands of times a second
			return
		}
		g := model.Draw(c)
		if g.Parameters() < 0 || g.Logits.Out.Size() != c.Vocab {
			t.Errorf("%d parameters, logits of width %d for a vocabulary of %d", g.Parameters(), g.Logits.Out.Size(), c.Vocab)
		}
	})
}
