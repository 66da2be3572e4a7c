package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
)

// bad is a checkpoint with a fault, and what every error about it must name.
type bad struct {
	name  string
	spoil func(t *testing.T, files map[string][]byte)
	want  []string
}

var faults = []bad{
	{"truncated safetensors", func(t *testing.T, files map[string][]byte) {
		files["model.safetensors"] = files["model.safetensors"][:100_000]
	}, []string{"model.safetensors", "ends at 102400, the file has 97848"}},
	{"wrong dtype", func(t *testing.T, files map[string][]byte) {
		files["model.safetensors"] = bytes.Replace(files["model.safetensors"], []byte(`"dtype":"F32"`), []byte(`"dtype":"I32"`), 1)
	}, []string{"tensor \"model.embed_tokens.weight\"", "is stored as i32"}},
	{"unknown dtype", func(t *testing.T, files map[string][]byte) {
		files["model.safetensors"] = bytes.Replace(files["model.safetensors"], []byte(`"dtype":"F32"`), []byte(`"dtype":"F31"`), 1)
	}, []string{"model.safetensors", "model.embed_tokens.weight", "F31"}},
	{"NaN weight", func(t *testing.T, files map[string][]byte) {
		put(t, files, "model.layers.1.mlp.up_proj.weight", 12, float32(math.NaN()))
	}, []string{"tensor \"", "row 0, column 12 is NaN or infinite"}},
	{"infinite weight", func(t *testing.T, files map[string][]byte) {
		put(t, files, "model.layers.0.self_attn.q_proj.weight", 3, float32(math.Inf(-1)))
	}, []string{"tensor \"", "row 0, column 3 is NaN or infinite"}},
	{"tokenizer of another model", func(t *testing.T, files map[string][]byte) {
		files["config.json"] = bytes.Replace(files["config.json"], []byte(`"vocab_size": 400`), []byte(`"vocab_size": 300`), 1)
		small, err := models.Files("llama", 1, map[string]any{"vocab_size": 300})
		if err != nil {
			t.Fatal(err)
		}
		files["model.safetensors"] = small["model.safetensors"]
	}, []string{"tokenizer", "400 tokens", "300"}},
	{"no config", func(t *testing.T, files map[string][]byte) { delete(files, "config.json") }, []string{"config.json"}},
	{"missing tensor", func(t *testing.T, files map[string][]byte) {
		files["model.safetensors"] = bytes.Replace(files["model.safetensors"], []byte(`model.norm.weight`), []byte(`model.nrom.weight`), 1)
	}, []string{"model.norm.weight", "missing"}},
	{"heads that do not divide", func(t *testing.T, files map[string][]byte) {
		files["config.json"] = bytes.Replace(files["config.json"], []byte(`"num_key_value_heads": 2`), []byte(`"num_key_value_heads": 3`), 1)
	}, []string{"config.json", "layer 0: 3 key/value heads do not divide 8 attention heads"}},
}

// put writes one value of a tensor.
func put(t *testing.T, files map[string][]byte, tensor string, at int, v float32) {
	t.Helper()
	data := files["model.safetensors"]
	n := binary.LittleEndian.Uint64(data)
	var head map[string]json.RawMessage
	if err := json.Unmarshal(data[8:8+n], &head); err != nil {
		t.Fatal(err)
	}
	var x struct {
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(head[tensor], &x); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(data[8+int(n)+x.Offsets[0]+4*at:], math.Float32bits(v))
}

// TestBadCheckpoints gives every verb that reads a model, and a run, checkpoints with a fault: one line that names place,
// finding and limit, exit code 1 or 2, nothing written, nothing left behind.
func TestBadCheckpoints(t *testing.T) {
	for _, b := range faults {
		t.Run(b.name, func(t *testing.T) {
			files, err := models.Files("llama", 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			b.spoil(t, files)
			dir := t.TempDir()
			t.Chdir(dir)
			write := func(name string, data []byte) {
				if err := os.WriteFile(name, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Mkdir("m", 0o755); err != nil {
				t.Fatal(err)
			}
			for name, data := range files {
				write(filepath.Join("m", name), data)
			}
			write("text.txt", []byte(models.Text))
			write("r.yaml", []byte("model: ./m\ndata: {calib: ./text.txt, heldout: ./text.txt}\nstages:\n- {name: slim, prune: {ffn: 0.5, num_calibration_samples: 2, max_seq_length: 32}}\n"+
				"- {name: q8, quantize: {format: Q8_0, allow_fallback: true}}\n- eval: {tasks: [perplexity], max_tokens: 100}\n"))
			before := tree(t, ".")
			for _, args := range [][]string{
				{"prune", "m", "--ffn", "0.5", "--calib", "text.txt", "--num-calibration-samples", "2", "-o", "out"},
				{"quantize", "m", "--format", "W8A16", "--algorithm", "gptq", "--calib", "text.txt", "--num-calibration-samples", "2", "-o", "out"},
				{"convert", "m", "-o", "out.gguf"},
				{"eval", "m", "--text", "text.txt", "--max-tokens", "100"},
				{"generate", "m", "-p", "The old fox", "-n", "2"},
				{"run", "r.yaml", "--out", "out"},
			} {
				var out, errs bytes.Buffer
				code := run(t.Context(), append([]string{"pare"}, args...), &out, &errs)
				said := errs.String()
				lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(said), "\n"), func(s string) bool { return !strings.HasPrefix(s, "pare: ") })
				if code != exitFailed && code != exitUsage || len(lines) != 1 || out.Len() > 0 {
					t.Errorf("%v: exit code %d, stdout %q, stderr:\n%s", args[:2], code, &out, said)
				}
				if args[0] != "run" && !strings.HasPrefix(said, "pare: m") {
					t.Errorf("%v does not begin with the file: %s", args[:2], said)
				}
				for _, w := range b.want {
					if !strings.Contains(said, w) {
						t.Errorf("%v does not say %q: %s", args[:2], w, said)
					}
				}
				for _, name := range tree(t, ".") {
					if !slices.Contains(before, name) && !bookkeeping(name) {
						t.Errorf("%v left %s", args[:2], name)
					}
				}
				for _, name := range []string{"out", "out.gguf"} {
					if err := os.RemoveAll(name); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// bookkeeping is what a run that failed in its work leaves: its directory and log.
func bookkeeping(name string) bool {
	return slices.Contains([]string{"out", "out/run.jsonl", "out/.pare-lock"}, name)
}

func tree(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		names = append(names, filepath.ToSlash(path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
