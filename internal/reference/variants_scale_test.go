package reference_test

import (
	"math"
	"sort"
	"testing"

	"github.com/parelm/pare/model"
)

// TestMultipliers checks the constants on embeddings, residual branches and logits.
func TestMultipliers(t *testing.T) {
	plain := map[string]any{"attention_multiplier": nil, "embedding_multiplier": nil, "residual_multiplier": nil, "logits_scaling": nil}
	m := changed(t, "granite", map[string]any{"attention_multiplier": 0.2, "embedding_multiplier": 3, "residual_multiplier": 0.3, "logits_scaling": 4})
	tr := trace(t, m, text)
	for i := range m.Config.Layers {
		l := "layers." + string(rune('0'+i))
		want := sum(tr[m.Graph.Entry[i].ID], times(0.3, site(t, m, tr, l+".attn.o")), times(0.3, site(t, m, tr, l+".mlp.down")))
		if d := distance(tr[m.Graph.Entry[i+1].ID], want); d > 1e-9 {
			t.Errorf("granite: layer %d adds something else: %g", i, d)
		}
	}
	if d := distance(tr[m.Graph.Entry[0].ID], times(3, site(t, m, tr, "embed"))); d > 1e-9 {
		t.Errorf("granite: embeddings are scaled otherwise: %g", d)
	}
	if d := distance(tr[m.Graph.Logits.ID], times(0.25, site(t, m, tr, "head"))); d > 1e-9 {
		t.Errorf("granite: logits are scaled otherwise: %g", d)
	}
	for _, l := range changed(t, "granite", plain).Config.Layers {
		if l.AttnScale != 1 { // the class's default, not 1/sqrt(head)
			t.Errorf("granite: scores are scaled by %g by default", l.AttnScale)
		}
	}
	for _, c := range []struct {
		name, key string
		a, b      any
		times     float64
	}{
		{"cohere", "logit_scale", 0.25, 1.0, 0.25},
		{"cohere", "logit_scale", nil, 1.0, 0.0625},
		{"granite", "logits_scaling", 8.0, 1.0, 0.125},
	} {
		a, b := last(t, changed(t, c.name, map[string]any{c.key: c.a}), text), last(t, changed(t, c.name, map[string]any{c.key: c.b}), text)
		if d := distance(a, times(c.times, b)); d > 1e-9 {
			t.Errorf("%s: %s %v: %g off", c.name, c.key, c.a, d)
		}
	}
	for _, name := range []string{"gemma", "gemma2", "gemma3_text"} { // the tied head uses the embedding as it is
		m := changed(t, name, nil)
		tr := trace(t, m, text)
		if d := distance(tr[m.Graph.Entry[0].ID], times(math.Sqrt(float64(m.Config.Hidden)), site(t, m, tr, "embed"))); d > 1e-9 {
			t.Errorf("%s: embeddings are scaled otherwise: %g", name, d)
		}
	}
	m = changed(t, "gemma2", map[string]any{"final_logit_softcapping": 0.5, "attn_logit_softcapping": nil})
	tr = trace(t, m, text)
	for i, v := range site(t, m, tr, "head") {
		if d := math.Abs(tr[m.Graph.Logits.ID][i] - 0.5*math.Tanh(v/0.5)); d > 1e-9 {
			t.Fatalf("gemma2: a logit of %g is capped otherwise: %g", v, d)
		}
	}
}

// TestRouting computes the weights of the chosen experts again: by the softmax over all, or over the chosen ones alone,
// which is the same as dividing by their sum.
func TestRouting(t *testing.T) {
	for _, c := range []struct {
		name   string
		change map[string]any
		top    int
		chosen bool // softmax over the chosen alone
	}{
		{"mixtral", map[string]any{"num_experts_per_tok": 2}, 2, true},
		{"qwen2_moe", map[string]any{"norm_topk_prob": nil}, 3, false},
		{"qwen2_moe", map[string]any{"norm_topk_prob": true}, 3, true},
		{"qwen3_moe", map[string]any{"norm_topk_prob": nil}, 2, false},
		{"qwen3_moe", map[string]any{"norm_topk_prob": true}, 2, true},
		{"olmoe", map[string]any{"norm_topk_prob": nil, "num_experts_per_tok": 3}, 3, false},
		{"olmoe", map[string]any{"norm_topk_prob": true, "num_experts_per_tok": 3}, 3, true},
	} {
		m := changed(t, c.name, c.change)
		tr := trace(t, m, text)
		seen := 0
		for _, n := range m.Graph.Nodes {
			if n.Op != model.OpRoute {
				continue
			}
			seen++
			experts := n.Out.Size()
			for i := range text {
				score, got := tr[n.In[0].ID][i*experts:][:experts], tr[n.ID][i*experts:][:experts]
				best := append([]float64(nil), score...)
				sort.Sort(sort.Reverse(sort.Float64Slice(best)))
				total := 0.0
				for j, s := range best {
					if j < c.top || !c.chosen {
						total += math.Exp(s)
					}
				}
				for e, s := range score {
					want := 0.0
					if s >= best[c.top-1] {
						want = math.Exp(s) / total
					}
					if math.Abs(got[e]-want) > 1e-9 {
						t.Fatalf("%s %v: expert %d weighs %v, want %v", c.name, c.change, e, got[e], want)
					}
				}
			}
		}
		if seen == 0 {
			t.Errorf("%s has no mixture", c.name)
		}
	}
}

// TestSharedExpert: with a gate of zeros half of the shared expert is added to the others. Qwen 3 has none.
func TestSharedExpert(t *testing.T) {
	m := changed(t, "qwen2_moe", map[string]any{"num_hidden_layers": 1})
	m = with(t, m, map[string]func(v []float32){"layers.0.mlp.shared.router": func(v []float32) { clear(v) }})
	tr := trace(t, m, text)
	parts := sum(site(t, m, tr, "layers.0.mlp.experts"), times(0.5, site(t, m, tr, "layers.0.mlp.shared.down")))
	want := sum(tr[m.Graph.Entry[0].ID], site(t, m, tr, "layers.0.attn.o"), parts)
	if d := distance(tr[m.Graph.Entry[1].ID], want); d > 1e-9 {
		t.Errorf("the shared expert is added otherwise: %g", d)
	}
	for _, w := range changed(t, "qwen3_moe", map[string]any{"shared_expert_intermediate_size": 40}).Graph.Weights {
		if len(w.Name) > 20 && w.Name[9:19] == "mlp.shared" {
			t.Errorf("qwen3_moe has %s", w.Name)
		}
	}
}

// TestOPT350M: norms behind the blocks, none at the end, embeddings of fewer channels with a matrix before and behind.
func TestOPT350M(t *testing.T) {
	m := changed(t, "opt", map[string]any{"do_layer_norm_before": false, "word_embed_proj_dim": 12})
	tr := trace(t, m, text)
	g := m.Graph
	if w := g.Weight("embed"); w.Shape()[1] != 12 || g.Weight("norm") != nil || g.Weight("embed_in.bias") != nil {
		t.Errorf("drawn as\n%s", g)
	}
	first := sum(site(t, m, tr, "embed_in"), site(t, m, tr, "positions"))
	if d := distance(tr[g.Entry[0].ID], first); d > 1e-9 {
		t.Errorf("the first layer reads something else: %g", d)
	}
	for _, n := range g.Nodes {
		if n.Op != model.OpNorm || n.Layer != 0 {
			continue
		}
		want := sum(first, site(t, m, tr, "layers.0.attn.o"))
		if n.Site == "layers.0.mlp.norm" {
			want = sum(site(t, m, tr, "layers.0.attn.norm"), site(t, m, tr, "layers.0.mlp.down"))
			if g.Entry[1] != n {
				t.Errorf("layer 1 reads %s", g.Entry[1].Site)
			}
		}
		if d := distance(tr[n.In[0].ID], want); d > 1e-9 {
			t.Errorf("%s reads something else: %g", n.Site, d)
		}
	}
	if n := g.Logits.In[0]; n.Site != "embed_out" || n.In[0] != g.Entry[g.Layers] {
		t.Errorf("the head reads %s", n.Site)
	}
}

// TestSameAs: variants that amount to another family compute what that does with the same weights, which are drawn by name.
func TestSameAs(t *testing.T) {
	neutral := map[string]any{"model_type": "granite", "architectures": nil, "attention_multiplier": 1 / math.Sqrt(8), "embedding_multiplier": 1,
		"residual_multiplier": 1, "logits_scaling": 1}
	for _, c := range []struct {
		name, base string
		change     map[string]any
		other      string
		otherways  map[string]any
	}{
		{"granite with multipliers of one", "llama", neutral, "llama", nil},
		{"gpt_bigcode with all heads", "gpt_bigcode", map[string]any{"multi_query": false}, "gpt_bigcode",
			map[string]any{"model_type": "gpt2", "architectures": nil}},
		{"mistral without window", "mistral", map[string]any{"sliding_window": null}, "mistral",
			map[string]any{"model_type": "llama", "architectures": nil}},
		{"smollm3 that rotates everywhere", "llama", map[string]any{"model_type": "smollm3", "architectures": nil, "no_rope_layers": []int{1, 1}}, "llama", nil},
		{"qwen3_moe of dense layers", "qwen3_moe", map[string]any{"mlp_only_layers": []int{0, 1, 2}}, "qwen3_moe",
			map[string]any{"model_type": "qwen3", "architectures": nil}},
		{"yarn that stretches by one", "llama", map[string]any{"rope_scaling": map[string]any{"type": "yarn", "factor": 1.0}}, "llama", nil},
		{"dynamic within the context", "llama", map[string]any{"rope_scaling": map[string]any{"type": "dynamic", "factor": 4.0}}, "llama", nil},
		{"olmo with a high clamp", "olmo", map[string]any{"clip_qkv": 1e6}, "olmo", map[string]any{"clip_qkv": nil}},
	} {
		a, b := changed(t, c.base, c.change), changed(t, c.other, c.otherways)
		if d := distance(last(t, a, text), last(t, b, text)); d > 1e-6 {
			t.Errorf("%s: %g off", c.name, d)
		}
	}
}

// TestOldFalconAlibi: files of transformers up to 4.44 add alibi once, later ones twice in eager attention.
func TestOldFalconAlibi(t *testing.T) {
	for version, want := range map[string]float64{"4.27.4": 1, "4.44.2": 1, "4.45.0": 2} {
		l := changed(t, "falcon_rw", map[string]any{"transformers_version": version}).Config.Layers[0]
		if got := l.Alibi.Scale * math.Sqrt(float64(l.HeadDim)); math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: alibi counts %g times, want %g", version, got, want)
		}
	}
}
