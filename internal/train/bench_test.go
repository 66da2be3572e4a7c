package train

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"github.com/parelm/pare/model"
)

// crossEntropy is -log of the probability of the label: log(1 + e^(rest - kept)), where kept is the label's logit and rest
// the log of the sum of exponentials of all others.
func crossEntropy() Loss {
	return Loss{Name: "ce", Weight: 1, Draw: func(t *Tape) Value {
		kept, rest := t.Logits().Pick(t.Labels())
		return rest.Sub(kept).Softplus()
	}}
}

// benchShape is a Llama whose steps are timed, and the batch of a step.
type benchShape struct {
	name                           string
	hidden, layers, heads, kv, ffn int
	vocab, rows, length            int
}

// benchShapes are what docs/training.md reports.
var benchShapes = []benchShape{
	{"6.45M", 256, 6, 4, 2, 688, 4096, 8, 256},
	{"30M", 512, 8, 8, 4, 1376, 8192, 8, 256},
	{"4.5M-512", 256, 5, 8, 4, 512, 3072, 4, 512}, // the quickstart's teacher
	{"1M", 128, 4, 4, 2, 344, 2048, 8, 256},
	{"3.5M", 192, 8, 6, 3, 512, 4096, 8, 256},
	{"3.5M-512", 192, 8, 6, 3, 512, 4096, 8, 512},
	{"10M", 320, 8, 5, 5, 864, 4096, 8, 256},
	{"10M-512", 320, 8, 5, 5, 864, 4096, 4, 512},
	{"30M-512", 512, 8, 8, 4, 1376, 8192, 4, 512},
	{"100M", 768, 12, 12, 4, 2048, 16384, 4, 256},
	{"100M-512", 768, 12, 12, 4, 2048, 16384, 2, 512},
}

func benchModel(tb testing.TB, s benchShape) *model.Model {
	tb.Helper()
	c, err := model.ParseConfig("config.json", fmt.Appendf(nil, `{"architectures":["LlamaForCausalLM"], "model_type":"llama",
		"hidden_size":%d, "num_hidden_layers":%d, "num_attention_heads":%d, "num_key_value_heads":%d, "intermediate_size":%d,
		"vocab_size":%d, "max_position_embeddings":2048, "rms_norm_eps":1e-5, "tie_word_embeddings":false}`,
		s.hidden, s.layers, s.heads, s.kv, s.ffn, s.vocab))
	if err != nil {
		tb.Fatal(err)
	}
	return model.Random(c, 1)
}

func (s *benchShape) batch() *Batch {
	r := rand.New(rand.NewPCG(1, 1))
	x := &Batch{Rows: s.rows, Length: s.length}
	for range x.Rows * x.Length {
		x.IDs = append(x.IDs, int32(r.IntN(s.vocab)))
		x.Labels = append(x.Labels, int32(r.IntN(s.vocab)))
	}
	return x
}

// BenchmarkStep is one training step of cross-entropy.
func BenchmarkStep(b *testing.B) {
	for _, s := range benchShapes {
		b.Run(s.name, func(b *testing.B) {
			m := benchModel(b, s)
			t, err := New(m, []Loss{crossEntropy()}, Settings{Optimizer: Optimizer{Rate: 1e-3, Decay: 0.1, Clip: 1}, Schedule: Schedule{Steps: 1000, Warmup: 10}})
			if err != nil {
				b.Fatal(err)
			}
			x := s.batch()
			step := func() {
				if _, err := t.Step(context.Background(), []*Batch{x}); err != nil {
					b.Fatal(err)
				}
			}
			step() // compile
			best, cpu := time.Duration(1<<62), time.Duration(1<<62)
			for b.Loop() {
				start, used := time.Now(), cpuTime()
				step()
				best, cpu = min(best, time.Since(start)), min(cpu, cpuTime()-used)
			}
			tokens := float64(x.Rows * x.Length)
			flops := 0
			for _, p := range t.steps {
				flops += p.exec.Flops()
			}
			b.ReportMetric(tokens/best.Seconds(), "tok/s")
			b.ReportMetric(cpu.Seconds(), "cpu-s")
			b.ReportMetric(float64(flops)/best.Seconds()/1e9, "GFLOP/s")
			b.ReportMetric(float64(t.steps[stepKey{s.rows, s.length, false, true, false}].exec.Memory())/1e6, "MB")
			b.ReportMetric(float64(m.Graph.Parameters())/1e6, "Mparams")
			if testing.Verbose() {
				profile(b, t, step)
			}
		})
	}
}

// BenchmarkDevices is one step on several of pare's devices, which take turns.
func BenchmarkDevices(b *testing.B) {
	s := benchShapes[0]
	for _, n := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(s.name, "/", n), func(b *testing.B) {
			t, err := New(benchModel(b, s), []Loss{crossEntropy()}, Settings{Optimizer: Optimizer{Rate: 1e-3, Clip: 1}, Schedule: Schedule{Steps: 1000}, Devices: n})
			if err != nil {
				b.Fatal(err)
			}
			x, best := s.batch(), time.Duration(1<<62)
			step := func() {
				if _, err := t.Step(context.Background(), []*Batch{x}); err != nil {
					b.Fatal(err)
				}
			}
			step() // compile
			for b.Loop() {
				start := time.Now()
				step()
				best = min(best, time.Since(start))
			}
			b.ReportMetric(float64(x.Rows*x.Length)/best.Seconds(), "tok/s")
			b.ReportMetric(float64(t.steps[stepKey{s.rows / n, s.length, false, true, n > 1}].exec.Memory())/1e6, "MB/device")
		})
	}
}

// profile prints where the time of a step goes.
func profile(b *testing.B, t *Trainer, step func()) {
	took := map[string]time.Duration{}
	flops := map[string]int{}
	programs := []*program{t.update, t.norm}
	for _, p := range t.steps {
		programs = append(programs, p)
	}
	for _, p := range programs {
		e := p.exec
		name := p.graph.Name()
		e.Observe = func(kind string, d time.Duration, n int) { took[name+" "+kind] += d; flops[name+" "+kind] += n }
	}
	step()
	var names []string
	for n := range took {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool { return took[names[i]] > took[names[j]] })
	for _, n := range names {
		b.Logf("%-28s %8.1f ms %8.1f GFLOP/s", n, float64(took[n].Microseconds())/1e3, float64(flops[n])/took[n].Seconds()/1e9)
	}
}
