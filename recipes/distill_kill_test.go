//go:build unix

package recipes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parelm/pare/internal/par"
)

// trained is a recipe that makes a tiny model from nothing, trains it, prunes it and teaches it again.
const trained = `
data: {train: ./text.txt, calib: ./text.txt}
seed: 5
stages:
  - name: fresh
    init:
      config: {hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 64, rms_norm_eps: 1e-5}
      tokenizer: {vocab_size: 300}
  - name: teacher
    distill: {steps: 30, batch_size: 4, max_seq_length: 32, learning_rate: 5e-3, checkpoint_every: 3, eval_every: 5, ema: 0.5}
  - name: slim
    prune: {ffn: 0.5, num_calibration_samples: 4, max_seq_length: 32}
  - name: student
    distill: {teacher: teacher, losses: {kl: 1, hidden: 0.1}, steps: 20, batch_size: 2, gradient_accumulation: 2, max_seq_length: 32, checkpoint_every: 1, patience: 50, eval_every: 4}
`

func (l *lab) writeTrained() {
	var b strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the a dog cat house runs sleeps eats in on under red small old then and but because fish tree")
	for i := range 3000 {
		b.WriteString(words[(i*7+r.IntN(3))%len(words)])
		b.WriteString([]string{" ", " ", " ", "\n", ". "}[r.IntN(5)])
	}
	l.write("text.txt", b.String())
	l.write("r.yaml", trained)
}

// TestKillTraining kills runs that train.
func TestKillTraining(t *testing.T) { killAtRandom(t, trained, 8, 3, "step-*") }

// killAtRandom kills runs of a recipe with kill -9 at random moments, several times each, again and again with other numbers of threads;
// what comes out in the end has the digests of an undisturbed run. state is what a killed run may leave to go on from.
func killAtRandom(t *testing.T, recipe string, seed uint64, kills int, state string) {
	defer par.SetThreads(0)
	fresh := func() *lab {
		l := newLab(t)
		l.writeTrained()
		l.write("r.yaml", recipe)
		return l
	}
	run := func(l *lab) string {
		r, err := Load(l.path("r.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		o, err := Run(context.Background(), r, Options{Out: l.path("out")})
		if err != nil {
			t.Fatal(err)
		}
		return digests(o)
	}
	par.SetThreads(1)
	began := time.Now()
	want := run(fresh())
	lasted := time.Since(began)
	for threads := 2; threads <= 3; threads++ {
		if par.SetThreads(threads); run(fresh()) != want {
			t.Fatalf("%d threads made something else", threads)
		}
	}
	par.SetThreads(0)
	runs := 2
	if full {
		runs = 20
	}
	r := rand.New(rand.NewPCG(seed, seed))
	resumed := 0
	for i := range runs {
		l := fresh()
		for range kills {
			cmd := l.command(fmt.Sprintf("PARE_RECIPES_THREADS=%d", 1+i%3))
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(r.Int64N(int64(lasted))))
			cmd.Process.Kill()
			cmd.Wait()
			if left, _ := filepath.Glob(l.path("out/.work-*/" + state)); len(left) > 0 {
				resumed++
			}
		}
		if run(l) != want {
			t.Error("after kills the run made something else")
		}
		l.tidy()
	}
	t.Logf("%d of %d kills left a state to go on from", resumed, kills*runs)
}
