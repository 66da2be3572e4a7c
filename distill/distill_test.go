package distill

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// memory keeps states in memory, and can fail or lose them.
type memory struct {
	files map[string][]byte
	saved int
}

func newMemory() *memory { return &memory{files: map[string][]byte{}} }

func (m *memory) Save(name string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	m.files[name] = b.Bytes()
	m.saved++
	return nil
}

func (m *memory) Open(name string) (io.ReadCloser, error) {
	if data := m.files[name]; data != nil {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return nil, nil
}

func (m *memory) List() ([]string, error) { return slices.Collect(maps.Keys(m.files)), nil }

func (m *memory) Delete(name string) error { delete(m.files, name); return nil }

// text is a stream with something to learn: after each token comes one of four.
func text(n, vocab int) Text {
	r := rng.New(5)
	ids := make([]int32, n)
	for i := 1; i < n; i++ {
		ids[i] = (ids[i-1]*3 + int32(r.Intn(4)) + 1) % int32(vocab)
	}
	return Text{IDs: ids, BOS: -1}
}

func quick() Settings {
	s := Default()
	s.Steps, s.BatchSize, s.MaxSeqLength, s.LearningRate, s.Seed = 30, 4, 16, 1e-2, 3
	return s
}

func mustRun(t *testing.T, m *model.Model, teacher Teacher, s Settings, o Options) (map[string][]float32, *Report) {
	t.Helper()
	out, r, err := Run(t.Context(), m, teacher, text(2000, m.Config.Vocab), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return weightsOf(t, out), r
}

func weightsOf(t *testing.T, m *model.Model) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	for _, w := range m.Graph.Weights {
		v, err := m.Tensor(w).Float32()
		if err != nil {
			t.Fatal(err)
		}
		all[w.Name] = v
	}
	return all
}

// same compares weights bit for bit.
func same(a, b map[string][]float32) bool {
	return maps.EqualFunc(a, b, func(x, y []float32) bool {
		return slices.EqualFunc(x, y, func(p, q float32) bool { return math.Float32bits(p) == math.Float32bits(q) })
	})
}

func TestLearns(t *testing.T) {
	m := models.Model(t, "llama", 1)
	s := quick()
	s.Steps = 150
	_, r, err := Run(t.Context(), m, nil, text(20000, m.Config.Vocab), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	first, last := r.Points[0].Loss, mean(r.Points, 10)
	if best := math.Log(4); !(first > 4 && last < best+0.5 && r.Best < best+0.5) {
		t.Errorf("loss went from %.3f to %.3f (validation %.3f), the text's entropy is %.3f", first, last, r.Best, best)
	}
	if want := int64(150 * 4 * 16); r.Tokens != want || r.Points[149].Tokens != want {
		t.Errorf("%d tokens were read, want %d", r.Tokens, want)
	}
}

// TestSameBits demands the same weights for any number of threads, with breaks and without.
func TestSameBits(t *testing.T) {
	defer par.SetThreads(0)
	m := models.Model(t, "llama", 1)
	s := quick()
	s.EMA, s.GradientAccumulation, s.Steps, s.CheckpointEvery = 0.5, 2, 12, 1
	var want map[string][]float32
	for threads := 1; threads <= 3; threads++ {
		par.SetThreads(threads)
		got, _ := mustRun(t, m, nil, s, Options{})
		if want == nil {
			want = got
		}
		if !same(got, want) {
			t.Errorf("%d threads made other weights", threads)
		}
	}
	for stop := 1; stop < s.Steps; stop += 3 {
		c := newMemory()
		if _, _, err := interrupted(t, m, s, c, stop); !errors.Is(err, errStop) {
			t.Fatal(err)
		}
		got, r := mustRun(t, m, nil, s, Options{Checkpoints: c})
		if r.Resumed != stop || !same(got, want) || len(r.Points) != s.Steps {
			t.Errorf("broken off after %d steps: resumed after %d, %d points, same weights: %v", stop, r.Resumed, len(r.Points), same(got, want))
		}
	}
}

var errStop = errors.New("stop")

// interrupted trains until a number of states were saved, and dies.
func interrupted(t *testing.T, m *model.Model, s Settings, c *memory, states int) (*model.Model, *Report, error) {
	return Run(t.Context(), m, nil, text(2000, m.Config.Vocab), s, Options{Checkpoints: dying{c, states}})
}

// dying saves a number of states and fails from then on.
type dying struct {
	*memory
	left int
}

func (d dying) Save(name string, write func(io.Writer) error) error {
	if d.saved >= d.left {
		return errStop
	}
	return d.memory.Save(name, write)
}

// TestDamagedState falls back to the state before.
func TestDamagedState(t *testing.T) {
	m := models.Model(t, "llama", 1)
	s := quick()
	s.Steps, s.CheckpointEvery, s.Patience, s.EvalEvery = 9, 2, 100, 1
	want, _ := mustRun(t, m, nil, s, Options{})
	c := newMemory()
	if _, _, err := interrupted(t, m, s, c, 3); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	if len(c.files) != 2 {
		t.Fatalf("%d states are kept, want 2", len(c.files))
	}
	c.files["step-0000000006"] = nil
	got, r := mustRun(t, m, nil, s, Options{Checkpoints: c})
	if r.Resumed != 4 || !same(got, want) {
		t.Errorf("resumed after step %d, same weights: %v", r.Resumed, same(got, want))
	}
}

func TestPatience(t *testing.T) {
	m := models.Model(t, "llama", 1)
	s := quick()
	s.Steps, s.EvalEvery, s.Patience, s.LearningRate, s.Schedule = 400, 5, 2, 2e-2, "constant"
	_, r, err := Run(t.Context(), m, nil, text(400, m.Config.Vocab), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Stopped || r.Steps >= 400 || r.BestAt != r.Steps-2*5 {
		t.Errorf("stopped %v after %d steps, best at %d", r.Stopped, r.Steps, r.BestAt)
	}
}

func TestOrder(t *testing.T) {
	ids := make([]int32, 1003)
	for i := range ids {
		ids[i] = int32(i)
	}
	for _, bos := range []int32{-1, 7} {
		o, err := newOrder(Text{IDs: ids, BOS: bos}, 10, 1)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[int]int{}
		for i := range o.pieces {
			seen[o.start(i)]++
		}
		if len(seen) != o.pieces || o.pieces < 98 {
			t.Errorf("an epoch of %d pieces takes %d different ones", o.pieces, len(seen))
		}
		b := o.batch(5, 3)
		at := o.start(6)
		row, labels := b.IDs[10:20], b.Labels[10:20]
		if bos < 0 && (int(row[0]) != at || labels[0] != row[1]) || bos >= 0 && (row[0] != bos || int(labels[0]) != at || labels[0] != row[1]) {
			t.Errorf("BOS %d: sequence %v, labels %v, from %d", bos, row, labels, at)
		}
		again, _ := newOrder(Text{IDs: ids, BOS: bos}, 10, 1)
		if i := 3*o.pieces + 2; again.start(i) != o.start(i) {
			t.Error("the place of a sequence depends on what came before")
		}
	}
	if _, err := newOrder(Text{IDs: ids[:10]}, 10, 1); err == nil {
		t.Error("ten tokens made a sequence of ten and its labels")
	}
}

func TestSplit(t *testing.T) {
	ids := make([]int32, 5000)
	for i := range ids {
		ids[i] = int32(i)
	}
	rest, held := split(Text{IDs: ids, BOS: -1}, 0.1, 10)
	in := map[int32]bool{}
	for _, id := range rest.IDs {
		in[id] = true
	}
	if n := len(held); n < 40 || n > 60 {
		t.Errorf("%d sequences held back", n)
	}
	for _, h := range held {
		for _, id := range h {
			if in[id] {
				t.Fatalf("token %d is held back and learned from", id)
			}
		}
	}
}
