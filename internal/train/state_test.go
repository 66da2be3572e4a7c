package train

import (
	"bytes"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/tiny/models"
)

// TestStateResumesExactly interrupts training after every step and goes on in a new trainer, with other numbers of threads.
func TestStateResumesExactly(t *testing.T) {
	defer par.SetThreads(0)
	m := models.Model(t, "llama", 1)
	batch := func(step int) []*Batch {
		b := &Batch{Rows: 2, Length: 6}
		for i := range 12 {
			b.IDs = append(b.IDs, int32((i*7+step*3)%m.Config.Vocab))
			b.Labels = append(b.Labels, int32((i*5+step)%m.Config.Vocab))
		}
		return []*Batch{b}
	}
	for _, c := range []struct {
		ema     float64
		devices int
	}{{0, 1}, {0.9, 2}} {
		open := func() *Trainer {
			s := Settings{Optimizer: Optimizer{Rate: 1e-2, Decay: 0.1, Clip: 1}, Schedule: Schedule{Steps: 6, Warmup: 2}, EMA: c.ema, Devices: c.devices}
			tr, err := New(m, []Loss{crossEntropy()}, s)
			if err != nil {
				t.Fatal(err)
			}
			return tr
		}
		step := func(tr *Trainer) {
			if _, err := tr.Step(t.Context(), batch(tr.Steps())); err != nil {
				t.Fatal(err)
			}
		}
		state := func(tr *Trainer) []byte {
			var b bytes.Buffer
			if err := tr.Save(&b); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		whole := open()
		for range 6 {
			step(whole)
		}
		broken := open()
		for i := range 6 {
			par.SetThreads(1 + i%3)
			saved := state(broken)
			broken = open()
			if err := broken.Load(bytes.NewReader(saved)); err != nil {
				t.Fatal(err)
			}
			step(broken)
		}
		if !bytes.Equal(state(broken), state(whole)) {
			t.Errorf("EMA %g, %d devices: training with breaks made other weights", c.ema, c.devices)
		}
	}
}

func TestStateOfAnother(t *testing.T) {
	open := func(name string, seed uint64) *Trainer {
		tr, err := New(models.Model(t, name, seed), []Loss{crossEntropy()}, Settings{Schedule: Schedule{Steps: 1}})
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	var b bytes.Buffer
	if err := open("llama", 1).Save(&b); err != nil {
		t.Fatal(err)
	}
	if err := open("gpt2", 1).Load(bytes.NewReader(b.Bytes())); err == nil || !strings.Contains(err.Error(), "another model") {
		t.Errorf("state of another model: %v", err)
	}
	tr := open("llama", 2)
	var before, after bytes.Buffer
	if err := tr.Save(&before); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 3, 4, 100, b.Len() - 1} {
		if err := tr.Load(bytes.NewReader(b.Bytes()[:n])); err == nil {
			t.Errorf("%d of %d bytes were taken for a state", n, b.Len())
		}
	}
	if err := tr.Save(&after); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before.Bytes(), after.Bytes()) {
		t.Error("a state that could not be read changed the trainer")
	}
}
