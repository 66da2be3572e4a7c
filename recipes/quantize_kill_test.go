//go:build unix

package recipes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parelm/pare/internal/par"
)

// rounded is a recipe that makes a model and quantizes it with error feedback, once with scales moved before.
const rounded = `
data: {train: ./text.txt, calib: ./text.txt}
seed: 5
stages:
  - name: fresh
    init:
      config: {hidden_size: 64, intermediate_size: 96, num_hidden_layers: 3, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 64, rms_norm_eps: 1e-5}
      tokenizer: {vocab_size: 300}
  - name: gptq
    quantize: {format: q4_0, algorithm: gptq, num_calibration_samples: 12}
  - name: awq
    from: fresh
    quantize: {format: w4a16, group_size: 32, algorithm: awq, num_calibration_samples: 8}
`

// TestKillQuantizing kills runs with kill -9 at random moments, again and again with other numbers of threads; what comes
// out in the end has the digests of an undisturbed run.
func TestKillQuantizing(t *testing.T) {
	defer par.SetThreads(0)
	defer func(n int64) { journalBytes = n }(journalBytes)
	journalBytes = 0
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
	fresh := func() *lab {
		l := newLab(t)
		l.writeTrained()
		l.write("r.yaml", rounded)
		return l
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
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(9, 9))
	resumed := 0
	for i := range runs {
		l := fresh()
		for range 2 {
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), "PARE_RECIPES_CHILD="+l.dir, fmt.Sprintf("PARE_RECIPES_THREADS=%d", 1+i%3))
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(r.Int64N(int64(lasted))))
			cmd.Process.Kill()
			cmd.Wait()
			if found, _ := filepath.Glob(l.path("out/.work-*/layers.*")); len(found) > 0 {
				resumed++
			}
		}
		if run(l) != want {
			t.Error("after kills the run made something else")
		}
		for _, pattern := range []string{".tmp-*", ".work-*"} {
			if left, _ := filepath.Glob(l.path("out/" + pattern)); len(left) > 0 {
				t.Errorf("left behind: %v", strings.Join(left, " "))
			}
		}
	}
	t.Logf("%d of %d kills left matrices to go on from", resumed, 2*runs)
}
