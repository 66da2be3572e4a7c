package train

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// The files that -curve writes are for repeating a run in another trainer: index.json (shapes, batches, losses) and
// weights.bin, ids.bin, labels.bin (float32 and int32, little-endian).
var (
	curveDir  = flag.String("curve", "", "directory for the weights, batches and losses of 200 steps")
	curveOf   = flag.String("curve-shape", "6.45M", "shape of -curve: small, that of TestCurve, or one of the benchmark's")
	curveLong = 200
)

// curveBatch is a batch that can be learned: most tokens follow from the one before.
func (s *benchShape) curveBatch(step int) *Batch {
	r := rand.New(rand.NewPCG(7, uint64(step)))
	x := &Batch{Rows: s.rows, Length: s.length}
	for range s.rows {
		id := r.IntN(s.vocab)
		for range s.length {
			x.IDs = append(x.IDs, int32(id))
			if id = (id*5 + 1) % s.vocab; r.IntN(5) == 0 {
				id = r.IntN(s.vocab)
			}
			x.Labels = append(x.Labels, int32(id))
		}
	}
	return x
}

// curve trains and returns the losses. With dir set it writes what another trainer needs.
func curve(t *testing.T, s benchShape, steps int, dir string) []float64 {
	tr, err := New(benchModel(t, s), []Loss{crossEntropy()}, Settings{Optimizer: Optimizer{Rate: 1e-3, Decay: 0.1, Clip: 1}, Schedule: Schedule{Kind: "constant", Steps: steps}})
	if err != nil {
		t.Fatal(err)
	}
	index := struct {
		Shape   []int // hidden, layers, heads, kv, ffn, vocab, rows, length
		Weights []map[string]any
		Losses  []float64
	}{Shape: []int{s.hidden, s.layers, s.heads, s.kv, s.ffn, s.vocab, s.rows, s.length}}
	var weights []float32
	for i, v := range tr.student.variables {
		index.Weights = append(index.Weights, map[string]any{"name": v.name, "dims": v.dims, "decay": v.decay})
		x, err := download(tr.vars[i][0])
		if err != nil {
			t.Fatal(err)
		}
		weights = append(weights, x...)
	}
	var ids, labels []int32
	for step := range steps {
		b := s.curveBatch(step)
		ids, labels = append(ids, b.IDs...), append(labels, b.Labels...)
		m, err := tr.Step(t.Context(), []*Batch{b})
		if err != nil {
			t.Fatal(err)
		}
		index.Losses = append(index.Losses, m.Loss)
	}
	if dir == "" {
		return index.Losses
	}
	write := func(name string, data any) {
		f, err := os.Create(filepath.Join(dir, name))
		if err == nil {
			err = binary.Write(f, binary.LittleEndian, data)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	write("index.json", text)
	write("weights.bin", weights)
	write("ids.bin", ids)
	write("labels.bin", labels)
	return index.Losses
}

// smallCurve is the shape of testdata/curve.json.
var smallCurve = benchShape{name: "small", hidden: 64, layers: 2, heads: 4, kv: 2, ffn: 160, vocab: 256, rows: 4, length: 32}

// TestCurve trains a small Llama and compares the losses of the steps with those that PyTorch 1.13 found from the same
// weights and batches with its own AdamW and gradient clipping.
func TestCurve(t *testing.T) {
	if *curveDir != "" {
		for _, s := range append(benchShapes, smallCurve) {
			if s.name == *curveOf {
				curve(t, s, curveLong, *curveDir)
			}
		}
		return
	}
	data, err := os.ReadFile("testdata/curve.json")
	if err != nil {
		t.Fatal(err)
	}
	var want []float64
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	got := curve(t, smallCurve, len(want), "")
	for i, w := range want {
		if d := math.Abs(got[i] - w); !(d <= 1e-4*w) {
			t.Fatalf("step %d: loss %.6f, PyTorch's is %.6f", i, got[i], w)
		}
	}
	if last := want[len(want)-1]; last > 0.7*want[0] {
		t.Errorf("the golden curve learns nothing: %g to %g", want[0], last)
	}
}
