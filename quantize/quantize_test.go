package quantize

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/runtime"
)

var samples = [][]int32{{3, 17, 99, 4, 4, 56, 23, 9, 12, 77}, {8, 71, 64, 2, 90, 11, 45, 6, 6, 100}, {1, 2, 3, 5, 8, 13, 21, 34, 55, 89}}

type dir string

func (d dir) Create(name string) (model.SinkFile, error) {
	return os.Create(filepath.Join(string(d), name))
}

func quantize(t *testing.T, m *model.Model, s Settings) (*model.Model, *Report) {
	t.Helper()
	a, err := New(s.Algorithm)
	if err != nil {
		t.Fatal(err)
	}
	q, r, err := Run(context.Background(), m, s, a, Options{Samples: samples})
	if err != nil {
		t.Fatal(err)
	}
	return q, r
}

// reopen writes a quantized model in its container and opens it.
func reopen(t *testing.T, m *model.Model, format string) *model.Model {
	t.Helper()
	path := t.TempDir()
	if Packed(format) {
		if err := m.SaveHF(context.Background(), dir(path)); err != nil {
			t.Fatal(err)
		}
	} else {
		path = filepath.Join(path, "model.gguf")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.SaveGGUF(context.Background(), f, model.GGUFOptions{Mix: format}); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	back, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { back.Close() })
	return back
}

func raw(t *testing.T, x *tensor.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := x.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestModels quantizes models of several families in every format, and expects the files to hold exactly the weights
// that were chosen.
func TestModels(t *testing.T) {
	for _, name := range []string{"llama", "llama3_rope_tied", "gpt2", "falcon_7b", "phi3", "gemma2", "qwen2_moe"} {
		m := models.Model(t, name, 3)
		for _, format := range []string{"Q8_0", "q4_0", "q4_k_m", "W8A16", "W4A16", "W4A16_ASYM", "W8A8", "FP8"} {
			if Packed(format) && name == "gpt2" {
				continue // stored [in, out], which the layout has no words for
			}
			for _, algorithm := range []string{"rtn", "gptq"} {
				q, r := quantize(t, m, Settings{Format: format, Algorithm: algorithm, AllowFallback: true})
				if r.Bytes >= m.Bytes() || len(r.Tensors) == 0 {
					t.Errorf("%s %s: %d bytes of %d, %d tensors", name, format, r.Bytes, m.Bytes(), len(r.Tensors))
				}
				back := reopen(t, q, format)
				for _, w := range q.Graph.Weights {
					if a, b := raw(t, q.Tensor(w)), raw(t, back.Tensor(back.Graph.Weight(w.Name))); !bytes.Equal(a, b) {
						t.Errorf("%s %s: %s changed on the way through the file", name, format, w.Name)
					}
				}
			}
		}
	}
}

// divergence returns the mean KL divergence of q from m over the samples.
func divergence(t *testing.T, m, q *model.Model) float64 {
	t.Helper()
	var logits [2][][]float64
	for k, x := range []*model.Model{m, q} {
		e, err := runtime.Load(context.Background(), x, runtime.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, ids := range samples {
			err := e.NewSession().Each(context.Background(), ids, func(_ int, l []float32) error {
				p, sum := make([]float64, len(l)), 0.0
				for i, v := range l {
					p[i] = math.Exp(float64(v))
					sum += p[i]
				}
				for i := range p {
					p[i] /= sum
				}
				logits[k] = append(logits[k], p)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	var kl float64
	for i, p := range logits[0] {
		for j, v := range p {
			kl += v * math.Log(v/logits[1][i][j])
		}
	}
	return kl / float64(len(logits[0]))
}

// TestNeverWorse expects no algorithm to do worse than rounding to nearest on the text it was calibrated on.
func TestNeverWorse(t *testing.T) {
	for _, name := range []string{"llama", "gpt2", "phi", "olmo2"} {
		m := models.Model(t, name, 3)
		for _, format := range []string{"q4_0", "q4_k_m"} {
			rtn, _ := quantize(t, m, Settings{Format: format, Algorithm: "rtn", AllowFallback: true})
			base := divergence(t, m, rtn)
			for _, algorithm := range Algorithms() {
				if algorithm == "smoothquant" {
					continue // makes weights harder to round so that activations are easier; these formats keep activations
				}
				q, _ := quantize(t, m, Settings{Format: format, Algorithm: algorithm, AllowFallback: true})
				kl := divergence(t, m, q)
				t.Logf("%s %s %s: %.4g, rounding to nearest %.4g", name, format, algorithm, kl, base)
				if kl > 1.05*base {
					t.Errorf("%s %s %s: divergence %v, rounding to nearest %v", name, format, algorithm, kl, base)
				}
			}
		}
	}
}

// TestThreads expects the same bytes for any number of threads.
func TestThreads(t *testing.T) {
	defer par.SetThreads(0)
	m := models.Model(t, "llama", 3)
	var first []byte
	for _, threads := range []int{1, 2, 3} {
		par.SetThreads(threads)
		q, _ := quantize(t, m, Settings{Format: "q4_k_m", Algorithm: "gptq", AllowFallback: true})
		var all []byte
		for _, w := range q.Graph.Weights {
			all = append(all, raw(t, q.Tensor(w))...)
		}
		if first == nil {
			first = all
		}
		if !bytes.Equal(first, all) {
			t.Fatalf("the bytes depend on the number of threads (%d)", threads)
		}
	}
}

// TestPlan checks mixes, patterns and refusals.
func TestPlan(t *testing.T) {
	data := `{"model_type":"llama","vocab_size":512,"hidden_size":512,"intermediate_size":1024,"num_hidden_layers":16,
		"num_attention_heads":8,"num_key_value_heads":4,"max_position_embeddings":64}`
	c, err := model.ParseConfig("config.json", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	m := model.Random(c, 1)
	plan := func(s Settings) map[string]string {
		t.Helper()
		choices, err := Plan(m, s)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, c := range choices {
			if c.Codec != nil {
				out[c.Weight.Name] = c.Codec.Name()
			}
		}
		return out
	}
	q := plan(Settings{Format: "Q4_K_M"})
	var six []string
	for i := range 16 {
		if f := q["layers."+string(rune('0'+i%10))+".mlp.down"]; i < 10 && f == "q6_k" {
			six = append(six, string(rune('0'+i)))
		}
	}
	if got := strings.Join(six, " "); got != "0 1 4 7" { // of 16 layers: the first two, then every third from the fifth
		t.Errorf("down projections of layers %s are q6_k", got)
	}
	if q["head"] != "q6_k" || q["embed"] != "q4_k" || q["layers.3.attn.q"] != "q4_k" || q["layers.15.attn.v"] != "q6_k" {
		t.Errorf("Q4_K_M is %v", q)
	}
	if p := plan(Settings{Format: "w4a16"}); p["layers.0.attn.q"] != "int4g128" || p["head"] != "" || p["embed"] != "" {
		t.Errorf("W4A16 is %v", p)
	}
	if p := plan(Settings{Format: "w4a16", GroupSize: 32, Ignore: []string{"re:\\.down$"}}); p["layers.0.attn.q"] != "int4g32" || p["layers.0.mlp.down"] != "" {
		t.Errorf("W4A16 with groups of 32 without down is %v", p)
	}
	if p := plan(Settings{Format: "q8_0", Targets: []string{"layers.2.mlp.up"}}); len(p) != 1 {
		t.Errorf("one target gives %v", p)
	}
	for name, s := range map[string]Settings{
		"unknown format":  {Format: "q9"},
		"no such matrix":  {Format: "q8_0", Ignore: []string{"lm_head"}},
		"bad expression":  {Format: "q8_0", Targets: []string{"re:("}},
		"group of a ggml": {Format: "q4_0", GroupSize: 64},
	} {
		if _, err := Plan(m, s); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
	tinyModel := models.Model(t, "llama", 1)
	if _, err := Plan(tinyModel, Settings{Format: "q4_k_m"}); err == nil || !strings.Contains(err.Error(), "allow_fallback") {
		t.Errorf("rows of 64 in blocks of 256: %v", err)
	}
}
