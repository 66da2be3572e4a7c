package quantize

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/runtime"
)

// TestStories quantizes the linear layers of a trained model to four bits in groups of 32 and measures perplexity on the
// reference text, where simple rounding is known to give 6.07 and the float model 5.2388. Rows of 172 values end in a
// shorter group there, which no file format has; here they are padded with columns that are always zero.
func TestStories(t *testing.T) {
	dir := tiny.Shared(t, "assets", "models", "stories260K")
	m, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	tok, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	ids, err := corpus.Stream(context.Background(), tok, []string{tiny.Shared(t, "assets", "corpora", "calibration", "tiny.txt")}, corpus.Plain)
	if err != nil {
		t.Fatal(err)
	}
	samples := corpus.Samples(ids, tok, 64, 128, 1)
	ppl := map[string]float64{}
	for name, a := range map[string]Algorithm{"rtn": &RTN{}, "gptq": &GPTQ{DampeningFrac: 0.01}, "static": &GPTQ{DampeningFrac: 0.01, ActOrder: "static"}} {
		work := m
		err := calib.Walk(context.Background(), m, samples, calib.Needs{Hessian: true}, func(ctx context.Context, l *calib.Layer) (*model.Model, error) {
			changed := map[*model.Weight]*tensor.Tensor{}
			for _, g := range m.Graph.Groups() {
				for _, n := range g.Linears {
					if n.Layer == l.Index {
						w := n.Weight(0)
						changed[w] = padded(t, a, m.Tensor(w), l.Points[g.Input])
					}
				}
			}
			work = work.With(changed)
			return work, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		ppl[name] = perplexity(t, work, dir)
		t.Logf("%s: perplexity %.4f", name, ppl[name])
	}
	if ppl["rtn"] < 5.9 || ppl["rtn"] > 6.2 {
		t.Errorf("rounding to nearest gives %.4f, an independent program 6.07", ppl["rtn"])
	}
	if ppl["gptq"] > 5.8 {
		t.Errorf("error feedback gives %.4f, rounding to nearest %.4f", ppl["gptq"], ppl["rtn"])
	}
}

// padded quantizes a matrix whose rows are filled up to a multiple of 32, and returns what it decodes to.
func padded(t *testing.T, a Algorithm, w *tensor.Tensor, p *calib.Point) *tensor.Tensor {
	t.Helper()
	v, err := w.Float32()
	if err != nil {
		t.Fatal(err)
	}
	rows, cols := w.Rows(), w.Cols()
	wide := (cols + 31) / 32 * 32
	f, err := codec.Lookup("int4g32")
	if err != nil {
		t.Fatal(err)
	}
	q := &Problem{Name: w.Name, W: make([]float32, rows*wide), Rows: rows, Cols: wide, Codec: f,
		Inputs: &calib.Point{Width: wide, Rows: p.Rows, SumSq: make([]float64, wide), Hessian: make([]float64, wide*wide)}}
	for r := range rows {
		copy(q.W[r*wide:], v[r*cols:(r+1)*cols])
	}
	for i := range cols {
		q.Inputs.SumSq[i] = p.SumSq[i]
		copy(q.Inputs.Hessian[i*wide:], p.Hessian[i*cols:(i+1)*cols])
	}
	r, err := a.Solve(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	out, row := make([]float32, rows*cols), make([]float32, wide)
	rb := len(r.Data) / rows
	for i := range rows {
		f.Decode(row, r.Data[i*rb:(i+1)*rb])
		copy(out[i*cols:], row[:cols])
	}
	return tensor.FromFloat32(w.Name, w.Shape, out)
}

// perplexity measures a model on the reference ids beside the checkpoint.
func perplexity(t *testing.T, m *model.Model, dir string) float64 {
	t.Helper()
	var ref struct {
		Perplexity struct {
			IDs []int32 `json:"token_ids"`
		} `json:"perplexity"`
	}
	data, err := os.ReadFile(filepath.Join(dir, "reference.json"))
	if err == nil {
		err = json.NewDecoder(strings.NewReader(string(data))).Decode(&ref)
	}
	if err != nil {
		t.Fatal(err)
	}
	e, err := runtime.Load(context.Background(), m, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return measure(t, e, ref.Perplexity.IDs, 511)
}

// measure is plain perplexity over windows with BOS in front, as the reference defines it.
func measure(t *testing.T, e *runtime.Engine, ids []int32, window int) float64 {
	t.Helper()
	var nll float64
	s := e.NewSession()
	for lo := 0; lo < len(ids); lo += window {
		w := append([]int32{1}, ids[lo:min(lo+window, len(ids))]...)
		s.Reset()
		err := s.Each(context.Background(), w[:len(w)-1], func(i int, l []float32) error {
			top, sum := float64(l[0]), 0.0
			for _, v := range l {
				top = math.Max(top, float64(v))
			}
			for _, v := range l {
				sum += math.Exp(float64(v) - top)
			}
			nll += top + math.Log(sum) - float64(l[w[i+1]])
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return math.Exp(nll / float64(len(ids)))
}
