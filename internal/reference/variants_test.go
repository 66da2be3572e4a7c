package reference_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/reference"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// The variants that no reference result covers. Each test derives what it expects from the definition, not from the executor.

var text = []int32{3, 17, 60, 4, 4, 91, 22, 7, 18, 100, 1, 2, 50}

// null is a value that is there and says nothing, which no default replaces.
var null = json.RawMessage("null")

// changed is a tiny model with some keys of its configuration changed; a nil value deletes the key.
func changed(t *testing.T, name string, change map[string]any) *model.Model {
	t.Helper()
	return models.Of(t, models.Variant(t, name, change), 1)
}

func trace(t *testing.T, m *model.Model, ids []int32) reference.Trace {
	t.Helper()
	tr, err := reference.Run(m.Graph, func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }, ids)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// last returns the logits of the last token.
func last(t *testing.T, m *model.Model, ids []int32) []float64 {
	t.Helper()
	l := trace(t, m, ids)[m.Graph.Logits.ID]
	return l[len(l)-m.Config.Vocab:]
}

// distance returns the largest difference.
func distance(a, b []float64) (worst float64) {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	for i := range a {
		worst = max(worst, math.Abs(a[i]-b[i]))
	}
	return worst
}

// with returns the model with other values of some weights.
func with(t *testing.T, m *model.Model, change map[string]func(v []float32)) *model.Model {
	t.Helper()
	ts := map[*model.Weight]*tensor.Tensor{}
	for name, f := range change {
		w := m.Graph.Weight(name)
		if w == nil {
			t.Fatalf("no weight %s", name)
		}
		v, err := m.Tensor(w).Float32()
		if err != nil {
			t.Fatal(err)
		}
		v = append([]float32(nil), v...)
		f(v)
		ts[w] = tensor.FromFloat32(name, w.Shape(), v)
	}
	return m.With(ts)
}

// site returns the value of the node of that site.
func site(t *testing.T, m *model.Model, tr reference.Trace, name string) []float64 {
	t.Helper()
	for _, n := range m.Graph.Nodes {
		if n.Site == name {
			return tr[n.ID]
		}
	}
	t.Fatalf("no node %s", name)
	return nil
}

func sum(xs ...[]float64) []float64 {
	out := make([]float64, len(xs[0]))
	for _, x := range xs {
		for i, v := range x {
			out[i] += v
		}
	}
	return out
}

func times(c float64, x []float64) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = c * v
	}
	return out
}

// TestResiduals checks how blocks add up: what norms read, and what enters the next layer.
func TestResiduals(t *testing.T) {
	for _, c := range []struct {
		name, base string
		change     map[string]any
		form       string // sequence, or parallel behind one norm or two
		attn, mlp  string // sites of the norms
	}{
		{"gpt_neox", "gpt_neox", map[string]any{"use_parallel_residual": true}, "two", "attn.norm", "mlp.norm"},
		{"gpt_neox in sequence", "gpt_neox", map[string]any{"use_parallel_residual": false}, "sequence", "attn.norm", "mlp.norm"},
		{"stablelm", "stablelm", map[string]any{"use_parallel_residual": false}, "sequence", "attn.norm", "mlp.norm"},
		{"stablelm parallel with norms of heads", "stablelm", map[string]any{"use_parallel_residual": true, "qk_layernorm": true}, "one", "attn.norm", ""},
		{"falcon-7b", "falcon_7b", nil, "one", "attn.norm", ""},
		{"falcon-40b", "falcon_new_decoder", map[string]any{"num_ln_in_parallel_attn": nil}, "two", "attn.norm_parallel", "mlp.norm_parallel"},
		{"falcon-11b", "falcon_new_decoder", map[string]any{"num_ln_in_parallel_attn": 1}, "one", "attn.norm", ""},
		{"falcon-rw", "falcon_rw", nil, "sequence", "attn.norm", "mlp.norm"},
		{"falcon in sequence with rotary embedding", "falcon_7b", map[string]any{"parallel_attn": false}, "sequence", "attn.norm", "mlp.norm"},
		{"cohere", "cohere", nil, "one", "attn.norm", ""},
		{"gptj", "gptj", nil, "one", "attn.norm", ""},
		{"phi", "phi", nil, "one", "attn.norm", ""},
	} {
		m := changed(t, c.base, c.change)
		tr := trace(t, m, text)
		in, out := tr[m.Graph.Entry[0].ID], tr[m.Graph.Entry[1].ID]
		attn, mlp := site(t, m, tr, "layers.0.attn.o"), site(t, m, tr, "layers.0.mlp.down")
		if d := distance(out, sum(in, attn, mlp)); d > 1e-9 {
			t.Errorf("%s: the blocks do not add up: %g", c.name, d)
		}
		reads := map[string][]float64{c.attn: in}
		if c.form == "two" {
			reads[c.mlp] = in
		} else if c.form == "sequence" {
			reads[c.mlp] = sum(in, attn)
		}
		for _, n := range m.Graph.Nodes {
			if n.Layer != 0 || n.Op != model.OpNorm || strings.HasSuffix(n.Site, "q_norm") || strings.HasSuffix(n.Site, "k_norm") {
				continue
			}
			name := n.Site[len("layers.0."):]
			want := reads[name]
			if delete(reads, name); want == nil {
				t.Errorf("%s: norm %s too many", c.name, name)
			} else if d := distance(tr[n.In[0].ID], want); d > 1e-9 {
				t.Errorf("%s: %s reads something else: %g", c.name, name, d)
			}
		}
		if len(reads) > 0 {
			t.Errorf("%s: no norms for %v", c.name, len(reads))
		}
	}
}

// TestAlibiSlopes checks twelve heads, not a power of two: eight slopes of 2^-i, then four from between them.
func TestAlibiSlopes(t *testing.T) {
	var ours, mpt []float64
	for i := 1; i <= 8; i++ {
		ours = append(ours, math.Pow(0.5, float64(i)))
		mpt = append(mpt, math.Pow(0.5, float64(i))) // the odd places of sixteen slopes 2^(-i/2)
	}
	for i := range 4 {
		half := math.Pow(0.5, float64(i)+0.5)
		ours, mpt = append(ours, half), append(mpt, half)
	}
	bf16 := func(x float64) float64 { // eight significant bits, ties to even
		f, e := math.Frexp(x)
		return math.Ldexp(math.RoundToEven(f*256), e-8)
	}
	for _, c := range []struct {
		name   string
		change map[string]any
		want   func(head, position int) float64
	}{
		{"bloom", map[string]any{"hidden_size": 48, "n_head": 12}, func(h, p int) float64 { return ours[h] * float64(p) }},
		{"mpt", map[string]any{"d_model": 48, "n_heads": 12}, func(h, p int) float64 { return mpt[h] * float64(p) }},
		{"falcon_rw", map[string]any{"hidden_size": 48, "num_attention_heads": 12, "transformers_version": "4.27.4"},
			func(h, p int) float64 { return bf16(bf16(ours[h])*float64(p)) / 2 }}, // before scaling by 1/sqrt(4)
	} {
		l := changed(t, c.name, c.change).Config.Layers[0]
		for h := range 12 {
			for _, p := range []int{0, 1, 7, 77, 300} {
				if got, want := l.Alibi.Bias(h, p), c.want(h, p); math.Abs(got-want) > 1e-9*(1+want) {
					t.Errorf("%s: head %d, position %d: %v, want %v", c.name, h, p, got, want)
				}
			}
		}
	}
}
