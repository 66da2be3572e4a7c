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

// benchModel is a Llama of 6.45M parameters, or one of 30M.
func benchModel(tb testing.TB, large bool) *model.Model {
	tb.Helper()
	hidden, layers, heads, kv, ffn := 256, 6, 4, 2, 688
	vocab := 4096
	if large {
		hidden, layers, heads, kv, ffn, vocab = 512, 8, 8, 4, 1376, 8192
	}
	c, err := model.ParseConfig("config.json", fmt.Appendf(nil, `{"architectures":["LlamaForCausalLM"], "model_type":"llama",
		"hidden_size":%d, "num_hidden_layers":%d, "num_attention_heads":%d, "num_key_value_heads":%d, "intermediate_size":%d,
		"vocab_size":%d, "max_position_embeddings":1024, "rms_norm_eps":1e-5, "tie_word_embeddings":false}`, hidden, layers, heads, kv, ffn, vocab))
	if err != nil {
		tb.Fatal(err)
	}
	return model.Random(c, 1)
}

// BenchmarkStep is one training step of a batch of 8 sequences of 256 tokens.
func BenchmarkStep(b *testing.B) {
	for _, large := range []bool{false, true} {
		m := benchModel(b, large)
		b.Run(fmt.Sprintf("%.1fM", float64(m.Graph.Parameters())/1e6), func(b *testing.B) {
			t, err := New(m, []Loss{crossEntropy()}, Settings{Optimizer: Optimizer{Rate: 1e-3, Decay: 0.1, Clip: 1}, Schedule: Schedule{Steps: 1000, Warmup: 10}})
			if err != nil {
				b.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 1))
			x := &Batch{Rows: 8, Length: 256}
			for range x.Rows * x.Length {
				x.IDs = append(x.IDs, int32(r.IntN(m.Config.Vocab)))
				x.Labels = append(x.Labels, int32(r.IntN(m.Config.Vocab)))
			}
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
			b.ReportMetric(float64(t.steps[stepKey{8, 256, false, true}].exec.Memory())/1e6, "MB")
			if testing.Verbose() {
				profile(b, t, step)
			}
		})
	}
}

// profile prints where the time of a step goes.
func profile(b *testing.B, t *Trainer, step func()) {
	took := map[string]time.Duration{}
	flops := map[string]int{}
	for _, p := range append([]*program{t.update, t.norm}, t.steps[stepKey{8, 256, false, true}]) {
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
