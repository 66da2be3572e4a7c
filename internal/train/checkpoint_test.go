package train

import (
	"math"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// cycle is a batch of two sequences, for any model.
func cycle(m *model.Model) *Batch {
	b := &Batch{Rows: 2, Length: 7}
	for i := range b.Rows * b.Length {
		b.IDs = append(b.IDs, int32(i*7%m.Config.Vocab))
		b.Labels = append(b.Labels, int32(i*5%m.Config.Vocab))
	}
	return b
}

// TestCheckpoint demands the gradients of a trainer that keeps everything, for every family, over one batch and over two.
func TestCheckpoint(t *testing.T) {
	trainable(t, func(t *testing.T, m *model.Model) {
		if n := len(cuts(m.Graph, headOf(m.Graph).In[0])); n < m.Graph.Layers-1 {
			t.Errorf("a model of %d layers is cut in %d places", m.Graph.Layers, n)
		}
		gradients := func(checkpoint bool) (float64, [][]float32) {
			tr, err := New(m, []Loss{crossEntropy()}, Settings{Schedule: Schedule{Steps: 1}, Optimizer: Optimizer{Rate: 0.1}, Checkpoint: checkpoint})
			if err != nil {
				t.Fatal(err)
			}
			metrics, grads, err := tr.gradients(t.Context(), []*Batch{cycle(m), cycle(m)})
			if err != nil {
				t.Fatal(err)
			}
			var out [][]float32
			for _, g := range grads {
				x, err := download(g[0])
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, x)
			}
			return metrics.Loss, out
		}
		loss, want := gradients(false)
		again, got := gradients(true)
		if loss != again {
			t.Errorf("loss %v, with everything kept %v", again, loss)
		}
		for i, w := range want {
			largest := 0.0
			for _, x := range w {
				largest = math.Max(largest, math.Abs(float64(x)))
			}
			for j, x := range w {
				if d := math.Abs(float64(got[i][j] - x)); !(d <= 1e-6*largest) {
					t.Fatalf("weight %d, value %d: gradient %v, with everything kept %v", i, j, got[i][j], x)
				}
			}
		}
	})
}

// TestCheckpointMemory demands that a layer more takes a few residual streams, not all its activations.
func TestCheckpointMemory(t *testing.T) {
	memory := func(layers int, checkpoint bool) int {
		s := benchShape{hidden: 64, layers: layers, heads: 4, kv: 2, ffn: 176, vocab: 64, rows: 4, length: 64}
		tr, err := New(benchModel(t, s), []Loss{crossEntropy()}, Settings{Schedule: Schedule{Steps: 1}, Optimizer: Optimizer{Rate: 0.1}, Checkpoint: checkpoint})
		if err != nil {
			t.Fatal(err)
		}
		p, err := tr.program(stepKey{s.rows, s.length, false, true, false})
		if err != nil {
			t.Fatal(err)
		}
		return p.exec.Memory()
	}
	stream := 4 * 64 * 4 * 64
	kept, again := memory(12, false)-memory(4, false), memory(12, true)-memory(4, true)
	t.Logf("eight more layers: %d residual streams where all is kept, %.1f where it is computed again", kept/stream, float64(again)/float64(stream))
	if again > 4*8*stream || again > kept/4 {
		t.Errorf("eight more layers take %d bytes, %d where all is kept, a residual stream has %d", again, kept, stream)
	}
}

func TestCheckpointRefuses(t *testing.T) {
	whole := crossEntropy()
	whole.Whole = true
	_, err := New(models.Model(t, "llama", 1), []Loss{whole}, Settings{Schedule: Schedule{Steps: 1}, Optimizer: Optimizer{Rate: 0.1}, Checkpoint: true})
	if err == nil || !strings.Contains(err.Error(), "what layers hold") {
		t.Errorf("error %v", err)
	}
}
