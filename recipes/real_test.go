//go:build unix

package recipes

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/tiny/models"
)

// real holds a stage of every kind, in several settings, over a tiny checkpoint.
const real = `
model: ./m
data: {calib: ./text.txt, train: ./text.txt, heldout: ./held.txt}
seed: 11
stages:
  - name: slim
    prune: {depth: 0.5, ffn: 0.75, heads: 0.5, hidden: 0.5, num_calibration_samples: 6, max_seq_length: 48}
  - name: student
    distill: {teacher: base, losses: {kl: 1, ce: 0.1}, steps: 6, batch_size: 2, max_seq_length: 32, checkpoint_every: 2, eval_every: 3, validation: 0.1}
  - name: q4
    quantize: {format: Q4_0, algorithm: gptq, allow_fallback: true, num_calibration_samples: 6, max_seq_length: 48}
  - name: w4
    from: student
    quantize: {format: W4A16, group_size: 16, algorithm: gptq, num_calibration_samples: 6, max_seq_length: 48, allow_fallback: true}
  - name: half
    from: base
    convert: {type: bf16}
  - name: few
    from: base
    prune: {vocab: ./words.txt}
  - name: report
    eval: {models: [base, slim, student, q4, w4, half], tasks: [perplexity, kld], max_tokens: 400}
`

// newReal lays out what the recipe reads.
func newReal(t *testing.T) *lab {
	t.Helper()
	l := newLab(t)
	files, err := models.Files("llama", 2, map[string]any{"num_hidden_layers": 4, "intermediate_size": 128})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(l.path("m"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		l.write(filepath.Join("m", name), string(data))
	}
	cut := len(models.Text) * 4 / 5
	l.write("text.txt", models.Text[:cut])
	l.write("held.txt", models.Text[cut:])
	l.write("words.txt", "The old fox carries two blue cups.")
	return l
}

// TestThreads: the same recipe and seed make the same bytes with any number of threads; with another seed, others.
func TestThreads(t *testing.T) {
	defer par.SetThreads(0)
	l := newReal(t)
	var first *Outcome
	for _, threads := range []int{1, 2, 3} {
		par.SetThreads(threads)
		if err := os.RemoveAll(l.path("out")); err != nil {
			t.Fatal(err)
		}
		o := l.mustRun(real)
		if first == nil {
			first = o
		}
		for i, a := range o.Artifacts {
			if a.Reused || a.Digest != first.Artifacts[i].Digest {
				t.Errorf("%s with %d threads: digest %.12s, with one %.12s", a.Name, threads, a.Digest, first.Artifacts[i].Digest)
			}
		}
	}
	other := l.mustRun(real, "seed=12")
	for i, a := range other.Artifacts {
		if slices.Contains([]string{"slim", "student"}, a.Name) && a.Digest == first.Artifacts[i].Digest {
			t.Errorf("%s does not depend on the seed", a.Name)
		}
	}
}

// child returns the command that runs the recipe in another process.
func (l *lab) realChild(env ...string) *exec.Cmd {
	l.t.Helper()
	cmd := l.child(append(env, "PARE_RECIPES_REAL=1")...)
	l.write("r.yaml", real)
	return cmd
}

// recovers demands that what a killed run left is complete, and that the next run ends as an undisturbed one.
func (l *lab) recovers(want string) {
	l.t.Helper()
	l.complete()
	if digests(l.mustRun(real)) != want {
		l.t.Fatal("the next run made something else")
	}
	l.tidy()
}

// TestKillRealStages kills runs of real stages at named points, and at random moments. The short form takes one passage of
// every fourth point; PARE_TEST_FULL=1 takes all passages, which is every point in every stage, and 200 moments.
func TestKillRealStages(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	want := digests(newReal(t).mustRun(real))
	killed := 0
	draw := rand.New(rand.NewPCG(5, 1))
	for i, point := range store.Points {
		if point == "old-moved" || !full && i%4 != 0 { // old-moved: only where a damaged artifact gives way, see TestKillAtEveryPoint
			continue
		}
		first := 1
		if !full {
			first += draw.IntN(4)
		}
		for nth := first; full || nth == first; nth++ {
			l := newReal(t)
			err := l.realChild(fmt.Sprintf("PARE_CRASH=%s:%d", point, nth)).Run()
			var exit *exec.ExitError
			if err == nil {
				if nth == 1 {
					t.Errorf("%s is never passed", point)
				}
				break
			}
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("child: %v", err)
			}
			killed++
			l.recovers(want)
		}
	}
	moments := 1
	if full {
		moments = 200
	}
	for range moments {
		l := newReal(t)
		cmd := l.realChild()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(draw.IntN(900)) * time.Millisecond)
		cmd.Process.Kill() // it may have ended by itself
		cmd.Wait()
		l.recovers(want)
	}
	t.Logf("killed at %d named points and %d random moments", killed, moments)
}
