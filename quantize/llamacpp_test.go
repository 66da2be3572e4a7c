package quantize

import (
	"context"
	"errors"
	"flag"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/runtime"
)

var (
	llamaPerplexity = flag.String("llama-perplexity", "", "compare every GGUF format with this program of llama.cpp")
	llamaText       = flag.Int("llama-text", 40000, "on so many bytes of the held-out text")
)

// TestLlamaCpp writes the quickstart's teacher in every GGUF format and mix, has llama.cpp measure its perplexity on the same
// windows, and compares within 0.1 %: what pare finds with activations rounded as ggml does it, and, where the file is decoded to
// float32 for both programs (by llama-quantize, beside the other one), what it finds without. With its own kernels' rounding, a scale
// for 32 values where ggml has one for 256, pare may be 0.3 % apart.
func TestLlamaCpp(t *testing.T) {
	if *llamaPerplexity == "" {
		t.Skip("a campaign of minutes against another program; run it with -llama-perplexity PROGRAM")
	}
	m, text, ids := llamaSubject(t)
	path := filepath.Join(t.TempDir(), "m.gguf")
	t.Logf("%-8s %10s %10s %9s   %10s %9s   %10s %10s %9s", "format", "llama.cpp", "as ggml", "apart", "pare", "apart", "decoded:", "llama.cpp", "apart")
	for _, format := range Formats() {
		if !Packed(format) {
			t.Run(format, func(t *testing.T) { inLlamaCpp(t, m, format, path, text, ids) })
		}
	}
}

// inLlamaCpp writes a model in one format and compares.
func inLlamaCpp(t *testing.T, m *model.Model, format, path, text string, ids []int32) {
	small, _, err := Run(context.Background(), m, Settings{Format: format}, &RTN{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	written(t, path, func(f *os.File) error {
		return small.SaveGGUF(context.Background(), f, model.GGUFOptions{Name: "m", Mix: format})
	})
	plain := filepath.Join(filepath.Dir(path), "f32.gguf")
	if out, err := exec.Command(filepath.Join(filepath.Dir(*llamaPerplexity), "llama-quantize"), "--allow-requantize", path, plain, "F32").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	other, decoded := llamaCpp(t, path, text), llamaCpp(t, plain, text)
	q, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	same, own, exact := secondHalves(t, q, ids, runtime.RoundGGML), secondHalves(t, q, ids, ""), secondHalves(t, float(t, q), ids, "")
	rounded, kernels, files := same/other-1, own/other-1, exact/decoded-1
	t.Logf("%-8s %10.4f %10.4f %8.3f%%   %10.4f %8.3f%%   %10.4f %10.4f %8.3f%%", DisplayName(format),
		other, same, 100*rounded, own, 100*kernels, exact, decoded, 100*files)
	if math.Abs(rounded) > 1e-3 || math.Abs(files) > 1e-4 || math.Abs(kernels) > 3e-3 {
		t.Error("they do not agree")
	}
}

const llamaWindow = 256

// TestLlamaCppAdapter has llama.cpp apply the correction that pare wrote beside a model, and expects the perplexity that pare
// finds with it, which must be another one than without.
func TestLlamaCppAdapter(t *testing.T) {
	if *llamaPerplexity == "" {
		t.Skip("against another program; run it with -llama-perplexity PROGRAM")
	}
	m, text, ids := llamaSubject(t)
	tok, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := corpus.Stream(context.Background(), tok, []string{"../recipes/builtin/quickstart/text/train.txt"}, corpus.Plain)
	if err != nil {
		t.Fatal(err)
	}
	s := Settings{Format: "q3_k", LowRank: 16}
	small, r, err := Run(context.Background(), m, s, &RTN{Importance: true}, Options{Samples: corpus.Samples(stream, tok, 32, 128, 1)})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, adapter := filepath.Join(dir, "m.gguf"), filepath.Join(dir, "a.gguf")
	written(t, path, func(f *os.File) error {
		return small.SaveGGUF(context.Background(), f, model.GGUFOptions{Name: "m", Mix: "q3_k"})
	})
	written(t, adapter, func(f *os.File) error { return small.SaveAdapterGGUF(f, r.Adapter, "m.gguf") })
	own := [2]float64{}
	for i, p := range []string{path, adapter} {
		q, err := model.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		own[i] = secondHalves(t, q, ids, runtime.RoundGGML)
		q.Close()
	}
	other := [2]float64{llamaCpp(t, path, text), llamaCpp(t, path, text, "--lora", adapter)}
	t.Logf("without %.4f, llama.cpp %.4f; with the adapter %.4f, llama.cpp %.4f", own[0], other[0], own[1], other[1])
	if !(own[1] < own[0] && other[1] < other[0]) || math.Abs(own[1]/other[1]-1) > 1e-3 || math.Abs(own[0]/other[0]-1) > 1e-3 {
		t.Error("the two programs do not agree, or the adapter corrects nothing")
	}
}

// written writes a file.
func written(t *testing.T, path string, write func(f *os.File) error) {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(write(f), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// llamaSubject returns the quickstart's teacher, a file of held-out text, and its ids.
func llamaSubject(t *testing.T) (m *model.Model, text string, ids []int32) {
	t.Helper()
	m = quickstart(t)
	data, err := os.ReadFile("../recipes/builtin/quickstart/text/heldout.txt")
	if err != nil {
		t.Fatal(err)
	}
	data = data[:min(len(data), *llamaText)]
	text = filepath.Join(t.TempDir(), "text.txt")
	if err := os.WriteFile(text, data, 0o600); err != nil {
		t.Fatal(err)
	}
	tok, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if ids, err = tok.Encode(string(data), false); err != nil {
		t.Fatal(err)
	}
	return m, text, ids
}

// llamaCpp runs the other program. What it logs is sometimes cut off at its end: then it is run again, unless all
// windows are there.
func llamaCpp(t *testing.T, path, text string, more ...string) float64 {
	t.Helper()
	var out []byte
	for range 5 {
		args := append([]string{"-m", path, "-f", text, "-c", strconv.Itoa(llamaWindow), "-b", strconv.Itoa(llamaWindow), "-t", "1",
			"-ctk", "f32", "-ctv", "f32", "-fa", "off"}, more...)
		var err error
		if out, err = exec.Command(*llamaPerplexity, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		found := regexp.MustCompile(`Final estimate: PPL = ([0-9.]+)`).FindSubmatch(out)
		if found == nil { // the estimate after the last of its windows is the same
			if n := regexp.MustCompile(`over ([0-9]+) chunks`).FindSubmatch(out); n != nil {
				found = regexp.MustCompile(`\[` + string(n[1]) + `\]([0-9.]+)`).FindSubmatch(out)
			}
		}
		if found != nil {
			v, err := strconv.ParseFloat(string(found[1]), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no estimate in %s", out)
	return 0
}

// secondHalves returns the perplexity by that program's protocol: windows one behind the other, the second half of each scored.
func secondHalves(t *testing.T, m *model.Model, ids []int32, r runtime.Rounding) float64 {
	t.Helper()
	e, err := runtime.Load(context.Background(), m, runtime.Options{Rounding: r})
	if err != nil {
		t.Fatal(err)
	}
	s := e.NewSession()
	var nll float64
	n := 0
	for ; len(ids) >= llamaWindow; ids = ids[llamaWindow:] {
		s.Reset()
		err := s.Each(context.Background(), ids[:llamaWindow], func(i int, l []float32) error {
			if i >= llamaWindow/2 && i+1 < llamaWindow {
				_, log := softmax(l)
				nll -= log[ids[i+1]]
				n++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return math.Exp(nll / float64(n))
}

// float returns a model with all weights decoded, so that nothing rounds activations.
func float(t *testing.T, m *model.Model) *model.Model {
	t.Helper()
	f32, err := codec.Lookup("f32")
	if err != nil {
		t.Fatal(err)
	}
	out := map[*model.Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		if out[w], err = tensor.Convert(m.Tensor(w), f32); err != nil {
			t.Fatal(err)
		}
	}
	return m.With(out)
}

// TestSecondHalves keeps the campaign's protocol from scoring nothing.
func TestSecondHalves(t *testing.T) {
	m := quickstart(t)
	ids := make([]int32, 2*llamaWindow+5)
	for i := range ids {
		ids[i] = int32(i*7+i/5) % int32(m.Config.Vocab)
	}
	a, b := secondHalves(t, m, ids, ""), secondHalves(t, float(t, m), ids, "")
	if !(a > 1) || math.Abs(a/b-1) > 1e-4 || strings.Contains(strconv.FormatFloat(a, 'g', -1, 64), "Inf") {
		t.Errorf("perplexity %v, with decoded weights %v", a, b)
	}
}
