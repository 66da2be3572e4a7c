package quantize

import (
	"context"
	"flag"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat"

	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tokenizer"
	"github.com/parelm/pare/runtime"
)

var (
	barFormats    = flag.String("bar-formats", "q4_k,q3_k,iq4_nl,q5_k,q4_0,w4a16", "formats of -bars")
	barAlgorithms = flag.String("bar-algorithms", "gptq,awq,hqq", "algorithms of -bars")
	barModels     = flag.String("bar-models", "stories260K,microlm-base-gpt2,quickstart", "models of -bars")
	barSamples    = flag.Int("bar-samples", 64, "calibration samples of -bars")
	barRotate     = flag.String("bar-rotate", "", "rotation of the algorithms, not of the baseline, of -bars")
)

var bars = flag.Bool("bars", false, "measure how close quantized models are to their originals, in every format, on more text")

// subject is a trained model with texts to calibrate on and to measure with.
type subject struct {
	name   string
	m      *model.Model
	calib  [][]int32
	held   [][]int32
	logits [][]float32 // of the original on held, flattened
}

// subjects opens the trained models.
func subjects(t testing.TB, samples, tests int) []*subject {
	t.Helper()
	var out []*subject
	for _, c := range []struct {
		name, calib, held string
		length            int
	}{
		{"stories260K", "tinystories/train.txt", "tinystories/valid.txt", 128},
		{"microlm-base-gpt2", "tinyshakespeare/input.txt", "tinyshakespeare/input.txt", 64},
		{"quickstart", "train.txt", "heldout.txt", 128},
	} {
		if !strings.Contains(*barModels, c.name) {
			continue
		}
		s := &subject{name: c.name}
		at := func(file string) string { return tiny.Shared(t, "assets", "corpora", file) }
		if c.name == "quickstart" {
			s.m = quickstart(t)
			at = func(file string) string { return filepath.Join("../recipes/builtin/quickstart/text", file) }
		} else {
			s.m = widened(t, c.name)
		}
		tok, err := s.m.Tokenizer()
		if err != nil {
			tok, err = tokenizer.Open(tiny.Shared(t, "assets", "models", c.name))
		}
		if err != nil {
			t.Fatal(err)
		}
		read := func(file string) []int32 {
			ids, err := corpus.Stream(context.Background(), tok, []string{at(file)}, corpus.Plain)
			if err != nil {
				t.Fatal(err)
			}
			return ids
		}
		calib, held := read(c.calib), read(c.held)
		if c.calib == c.held {
			calib, held = calib[:len(calib)*4/5], held[len(held)*4/5:]
		}
		s.calib, s.held = corpus.Samples(calib, tok, samples, c.length, 1), corpus.Samples(held, tok, tests, c.length, 1)
		s.logits = s.run(t, s.m)
		out = append(out, s)
	}
	return out
}

// quickstart opens the teacher of the built-in recipe, whose rows fit as they are.
func quickstart(t testing.TB) *model.Model {
	t.Helper()
	m, err := model.Open("../recipes/builtin/quickstart/teacher")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// run returns the logits of a model on the held-out text.
func (s *subject) run(t testing.TB, m *model.Model) [][]float32 {
	t.Helper()
	e, err := runtime.Load(context.Background(), m, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var out [][]float32
	session := e.NewSession()
	for _, ids := range s.held {
		session.Reset()
		err := session.Each(context.Background(), ids, func(_ int, l []float32) error {
			out = append(out, append([]float32(nil), l...))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// divergence returns the mean divergence KL(original || q) on the held-out text.
func (s *subject) divergence(t testing.TB, q *model.Model) float64 {
	t.Helper()
	var kl float64
	for i, l := range s.run(t, q) {
		p, lp := softmax(s.logits[i])
		_, lq := softmax(l)
		for j := range p {
			kl += p[j] * (lp[j] - lq[j])
		}
	}
	return kl / float64(len(s.logits))
}

func softmax(l []float32) (p, log []float64) {
	top, sum := math.Inf(-1), 0.0
	for _, v := range l {
		top = max(top, float64(v))
	}
	p, log = make([]float64, len(l)), make([]float64, len(l))
	for _, v := range l {
		sum += math.Exp(float64(v) - top)
	}
	for i, v := range l {
		log[i] = float64(v) - top - math.Log(sum)
		p[i] = math.Exp(log[i])
	}
	return p, log
}

// TestWidened expects the widened models to be the old ones.
func TestWidened(t *testing.T) {
	for _, s := range subjects(t, 1, 2) {
		if s.name == "quickstart" {
			continue
		}
		m, err := model.Open(tiny.Shared(t, "assets", "models", s.name))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if kl := s.divergence(t, m); !(math.Abs(kl) < 1e-8) {
			t.Errorf("%s: divergence of the original from the widened model is %v", s.name, kl)
		}
	}
}

// TestBars measures algorithms on the trained models, beside rounding to nearest that knows as much: importances of the same text, or none. What has seen
// text must never be worse.
func TestBars(t *testing.T) {
	if !*bars {
		t.Skip("a campaign of minutes; run it with -bars")
	}
	shares := map[string][]float64{} // of the baseline's divergence, by format and algorithm
	for _, s := range subjects(t, *barSamples, 16) {
		for _, format := range strings.Split(*barFormats, ",") {
			set, base := Settings{Format: format}, &RTN{Importance: true}
			if Packed(format) {
				set.GroupSize, base.Importance = 32, false
			}
			against := s.quantized(t, set, base)
			t.Logf("%-18s %-7s %-12s %.5f", s.name, format, "baseline", against)
			for _, name := range strings.Split(*barAlgorithms, ",") {
				a, err := New(name)
				if err != nil {
					t.Fatal(err)
				}
				against := against
				if a.Needs() == nil && base.Importance { // what sees no text is compared with what sees none
					against = s.quantized(t, set, &RTN{})
					t.Logf("%-18s %-7s %-12s %.5f", s.name, format, "no text", against)
				}
				rotated := set
				rotated.Rotate = *barRotate
				kl := s.quantized(t, rotated, a)
				t.Logf("%-18s %-7s %-12s %.5f  %.3f of it", s.name, format, name, kl, kl/against)
				shares[format+" "+name] = append(shares[format+" "+name], kl/against)
				if a.Needs() != nil && kl > against {
					t.Errorf("%s %s: %s diverges more than rounding to nearest", s.name, format, name)
				}
			}
		}
	}
	for key, most := range map[string]float64{"q4_k gptq": 0.8, "q3_k gptq": 0.85, "iq4_nl gptq": 0.85, "w4a16 gptq": 0.7, "w4a16 awq": 0.7} {
		if len(shares[key]) == 0 {
			continue
		}
		mean := stat.GeometricMean(shares[key], nil)
		t.Logf("%-18s %-20s %.3f of it, at most %.2f", "geometric mean", key, mean, most)
		if mean > most {
			t.Errorf("%s: %.3f of the baseline's divergence, at most %.2f", key, mean, most)
		}
	}
}

// quantized returns the divergence of a quantized model.
func (s *subject) quantized(t *testing.T, set Settings, a Algorithm) float64 {
	t.Helper()
	q, _, err := Run(context.Background(), s.m, set, a, Options{Samples: s.calib})
	if err != nil {
		t.Fatal(err)
	}
	return s.divergence(t, q)
}

// TestBudgetBars gives the search the bytes of the usual mix and expects it to come closer to the original on text it has
// not seen, and to use the bytes.
func TestBudgetBars(t *testing.T) {
	if !*bars {
		t.Skip("a campaign of minutes; run it with -bars")
	}
	for _, s := range subjects(t, 128, 32) {
		mix := Settings{Format: "q4_k_m"}
		q, r, err := Run(context.Background(), s.m, mix, &RTN{Importance: true}, Options{Samples: s.calib})
		if err != nil {
			t.Fatal(err)
		}
		usual := s.divergence(t, q)
		mix.TargetBPW = r.BitsPerWeight
		for _, name := range []string{"rtn", "gptq"} {
			a, err := New(name)
			if err != nil {
				t.Fatal(err)
			}
			if name == "rtn" {
				a = &RTN{Importance: true}
			}
			best, b, err := Run(context.Background(), s.m, mix, a, Options{Samples: s.calib})
			if err != nil {
				t.Fatal(err)
			}
			kl := s.divergence(t, best)
			t.Logf("%-18s %s: Q4_K_M %d bytes, %.5f; budget %d bytes, %.5f, by %s", s.name, name, r.Bytes, usual, b.Bytes, kl, b.Budget.Plan)
			if b.Bytes > r.Bytes || b.Bytes < r.Bytes-r.Bytes/100 || kl >= usual {
				t.Errorf("%s %s: %d bytes of %d, divergence %.5f against %.5f", s.name, name, b.Bytes, r.Bytes, kl, usual)
			}
		}
	}
}
