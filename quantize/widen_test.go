package quantize

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// The small trained checkpoints at hand have rows of 64 to 320 values, and the k formats of ggml blocks of 256. widen makes
// the same function of rows that fit: new channels are always zero, norms are scaled so that zeros beside the channels
// change nothing, new heads add nothing. What quantization does to the old weights is what it would do to them in
// blocks filled up with zeros, and the files are files that other programs load.

// widened opens a checkpoint of shared/assets/models in rows of multiples of 256.
func widened(t testing.TB, name string) *model.Model {
	t.Helper()
	dir := tiny.Shared(t, "assets", "models", name)
	m, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var conf map[string]any
	if err := json.Unmarshal(data, &conf); err != nil {
		t.Fatal(err)
	}
	l := m.Config.Layers[0]
	up := func(n int) int { return (n + 255) / 256 * 256 }
	hidden, grow := up(m.Config.Hidden), math.Sqrt(float64(m.Config.Hidden)/float64(up(m.Config.Hidden)))
	queries := 1.0
	if m.Config.Family.Name == "gpt2" {
		queries = math.Sqrt(float64(hidden/l.Heads) / float64(l.HeadDim)) // scores are divided by the wider head's root
		conf["n_embd"], conf["n_inner"], conf["tie_word_embeddings"] = hidden, up(l.FFN), false
		conf["layer_norm_epsilon"] = m.Config.Norm.Eps * grow * grow
	} else {
		k := up(l.Heads*l.HeadDim) / (l.Heads * l.HeadDim)
		conf["hidden_size"], conf["intermediate_size"] = hidden, up(l.FFN)
		conf["num_attention_heads"], conf["num_key_value_heads"], conf["head_dim"] = k*l.Heads, k*l.KVHeads, l.HeadDim
		conf["rms_norm_eps"] = m.Config.Norm.Eps * grow * grow
	}
	if data, err = json.Marshal(conf); err != nil {
		t.Fatal(err)
	}
	c, err := model.ParseConfig("config.json", data)
	if err != nil {
		t.Fatal(err)
	}
	out := model.Random(c, 1)
	changed := map[*model.Weight]*tensor.Tensor{}
	for _, w := range out.Graph.Weights {
		old := m.Graph.Weight(w.Name)
		if old == nil && w.Name == "head" {
			old = m.Graph.Weight("embed")
		}
		v, err := m.Tensor(old).Float32()
		if err != nil {
			t.Fatal(err)
		}
		scale := 1.0
		switch {
		case strings.HasSuffix(w.Name, "norm"):
			scale = grow
		case strings.Contains(w.Name, "attn.q"):
			scale = queries
		}
		for i := range v {
			v[i] = float32(float64(v[i]) * scale)
		}
		if m.Config.Norm.Kind == "layer" {
			center(v, old, w.Name)
		}
		changed[w] = tensor.FromFloat32(w.Name, w.Shape(), spread(v, old, w))
	}
	return out.With(changed)
}

// center takes the mean over the channels of the residual stream away from what writes to it. LayerNorm does so anyway;
// afterwards zeros beside the channels do not change the mean.
func center(v []float32, w *model.Weight, name string) {
	stride, count := 0, 0 // values of one channel, channels
	switch {
	case name == "embed", name == "positions":
		stride, count = 1, w.Dims[1].Size()
	case strings.HasSuffix(name, "attn.o"), strings.HasSuffix(name, "mlp.down"):
		stride, count = w.Dims[1].Size(), w.Dims[0].Size()
	case strings.HasSuffix(name, "attn.o.bias"), strings.HasSuffix(name, "mlp.down.bias"):
		stride, count = 1, len(v)
	default:
		return
	}
	for lo := 0; lo < len(v); lo += stride * count {
		for j := range stride {
			var sum float64
			for c := range count {
				sum += float64(v[lo+c*stride+j])
			}
			for c := range count {
				v[lo+c*stride+j] -= float32(sum / float64(count))
			}
		}
	}
}

// spread puts the values of a weight into a wider one: unit by unit, each unit at the start of its new place.
func spread(v []float32, old, wide *model.Weight) []float32 {
	place := func(a, b model.Dim, i int) int { // of entry i of dimension a in dimension b
		if a.Axis.Size == b.Axis.Size && a.Block != b.Block {
			return i/a.Block*b.Block + i%a.Block
		}
		return i
	}
	out := make([]float32, wide.Len())
	if len(old.Dims) == 1 {
		for i, x := range v {
			out[place(old.Dims[0], wide.Dims[0], i)] = x
		}
		return out
	}
	cols, wideCols := old.Dims[1].Size(), wide.Dims[1].Size()
	for i, x := range v {
		out[place(old.Dims[0], wide.Dims[0], i/cols)*wideCols+place(old.Dims[1], wide.Dims[1], i%cols)] = x
	}
	return out
}
