package model

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// stored says under which name, and in which form, a dialect keeps the weights of a site. In names # is the layer and @
// the expert.
type stored struct {
	Site string // "layers.#.attn.q"
	Name string // "model.layers.#.self_attn.q_proj"; ".weight" or ".bias" is added unless Raw
	// Parts lists the sites that share one tensor, rows of one after the other; Site is empty then. With Grouped, rows
	// alternate: those of the first key/value head of every part, then of the second...
	Parts   []string
	Grouped bool
	// Transposed says that the matrix is stored [in, out].
	Transposed bool
	// Stacked says that the tensor holds a matrix of every expert, one behind the other; Parts, Grouped and Transposed are of each.
	Stacked bool
	// Tiled says that heads which the weight has in turns (Axis.tiles) are stored side by side.
	Tiled bool
	// Bias is the name of the bias where it is not the matrix's with ".bias".
	Bias string
	Raw  bool
	// PlusOne says that the stored scale is 1 + the weight.
	PlusOne bool
	// NegExp says that the stored value is -exp(the weight).
	NegExp bool
	// Dims is the stored shape where it has more dimensions than the weight; 0 takes the weight's next.
	Dims []int
}

// qkvSites are the parts of a fused query, key and value projection.
var qkvSites = []string{"layers.#.attn.q", "layers.#.attn.k", "layers.#.attn.v"}

// fusedQKV is how GGUF keeps it: all queries, all keys, all values.
var fusedQKV = stored{Parts: qkvSites, Name: "blk.#.attn_qkv"}

// override returns base with the entries of diff in place of those of the same sites.
func override(base, diff []stored) []stored {
	replaced := map[string]bool{}
	for _, d := range diff {
		for _, s := range d.sites() {
			replaced[s] = true
		}
	}
	var out []stored
	for _, b := range base {
		if !replaced[b.Site] {
			out = append(out, b)
		}
	}
	return append(out, diff...)
}

func (s stored) sites() []string {
	if len(s.Parts) > 0 {
		return s.Parts
	}
	return []string{s.Site}
}

// llamaHF are the names that Llama made common.
var llamaHF = []stored{
	{Site: "embed", Name: "model.embed_tokens"},
	{Site: "layers.#.attn.norm", Name: "model.layers.#.input_layernorm"},
	{Site: "layers.#.attn.q", Name: "model.layers.#.self_attn.q_proj"},
	{Site: "layers.#.attn.k", Name: "model.layers.#.self_attn.k_proj"},
	{Site: "layers.#.attn.v", Name: "model.layers.#.self_attn.v_proj"},
	{Site: "layers.#.attn.q_norm", Name: "model.layers.#.self_attn.q_norm"},
	{Site: "layers.#.attn.k_norm", Name: "model.layers.#.self_attn.k_norm"},
	{Site: "layers.#.attn.o", Name: "model.layers.#.self_attn.o_proj"},
	{Site: "layers.#.mlp.norm", Name: "model.layers.#.post_attention_layernorm"},
	{Site: "layers.#.mlp.gate", Name: "model.layers.#.mlp.gate_proj"},
	{Site: "layers.#.mlp.up", Name: "model.layers.#.mlp.up_proj"},
	{Site: "layers.#.mlp.down", Name: "model.layers.#.mlp.down_proj"},
	{Site: "norm", Name: "model.norm"},
	{Site: "head", Name: "lm_head"},
}

// standardGGUF are the names of GGUF files; most families use a part of them.
var standardGGUF = []stored{
	{Site: "embed", Name: "token_embd"},
	{Site: "embed_norm", Name: "token_embd_norm"},
	{Site: "positions", Name: "position_embd"},
	{Site: "layers.#.attn.norm", Name: "blk.#.attn_norm"},
	{Site: "layers.#.attn.q", Name: "blk.#.attn_q"},
	{Site: "layers.#.attn.k", Name: "blk.#.attn_k"},
	{Site: "layers.#.attn.v", Name: "blk.#.attn_v"},
	{Site: "layers.#.attn.q_norm", Name: "blk.#.attn_q_norm"},
	{Site: "layers.#.attn.k_norm", Name: "blk.#.attn_k_norm"},
	{Site: "layers.#.attn.sinks", Name: "blk.#.attn_sinks"},
	{Site: "layers.#.attn.o", Name: "blk.#.attn_output"},
	{Site: "layers.#.attn.post_norm", Name: "blk.#.post_attention_norm"},
	{Site: "layers.#.mlp.norm", Name: "blk.#.ffn_norm"},
	{Site: "layers.#.mlp.gate", Name: "blk.#.ffn_gate"},
	{Site: "layers.#.mlp.up", Name: "blk.#.ffn_up"},
	{Site: "layers.#.mlp.down", Name: "blk.#.ffn_down"},
	{Site: "layers.#.mlp.post_norm", Name: "blk.#.post_ffw_norm"},
	{Site: "layers.#.mlp.router", Name: "blk.#.ffn_gate_inp"},
	{Site: "layers.#.mlp.experts.gate", Name: "blk.#.ffn_gate_exps"},
	{Site: "layers.#.mlp.experts.up", Name: "blk.#.ffn_up_exps"},
	{Site: "layers.#.mlp.experts.down", Name: "blk.#.ffn_down_exps"},
	{Site: "layers.#.mlp.shared.gate", Name: "blk.#.ffn_gate_shexp"},
	{Site: "layers.#.mlp.shared.up", Name: "blk.#.ffn_up_shexp"},
	{Site: "layers.#.mlp.shared.down", Name: "blk.#.ffn_down_shexp"},
	{Site: "layers.#.mlp.shared.router", Name: "blk.#.ffn_gate_inp_shexp"},
	{Site: "norm", Name: "output_norm"},
	{Site: "head", Name: "output"},
}

// at fills the layer into a name or a site.
func at(s string, layer int) string { return strings.Replace(s, "#", strconv.Itoa(layer), 1) }

// slot is one stored tensor of a concrete graph: which weights it holds, and how.
type slot struct {
	stored
	name    string
	weights []*Weight
	expert  int // -1, or which slab of the one weight it holds
	groups  int // of grouped parts
	permute int // values of a head whose rows are in the order of interleaved rotation; 0 means they are not
}

// slots lists the stored tensors of g in a dialect, in drawing order.
func slots(g *Graph, table []stored) []slot { return slices.Collect(eachSlot(g, table)) }

// eachSlot yields the same one by one: a configuration of a few bytes may claim millions of experts, and who misses the first
// of their tensors needs no list of all. It panics when a weight has no name: every family is checked by a test.
func eachSlot(g *Graph, table []stored) iter.Seq[slot] {
	bySite := map[string]*stored{}
	for i := range table {
		for _, s := range table[i].sites() {
			bySite[s] = &table[i]
		}
	}
	return func(yield func(slot) bool) {
		done := map[string]bool{}
		for _, w := range g.Weights {
			if strings.HasSuffix(w.Name, loraA) || strings.HasSuffix(w.Name, loraB) {
				continue // an adapter's, which lie beside the checkpoint
			}
			s := g.slot(w, bySite)
			if done[s.name] {
				continue
			}
			done[s.name] = true
			if !strings.Contains(s.name, "@") {
				if !yield(s) {
					return
				}
				continue
			}
			each := s.name
			for e := range w.Dims[0].Size() {
				s.name, s.expert = strings.Replace(each, "@", strconv.Itoa(e), 1), e
				if !yield(s) {
					return
				}
			}
		}
	}
}

// slot describes the stored tensor that holds w, of all experts where each has its own.
func (g *Graph) slot(w *Weight, bySite map[string]*stored) slot {
	site, layer, kind := splitName(w.Name)
	e := bySite[site]
	if e == nil {
		panic(fmt.Sprintf("model: no stored name for %s", w.Name))
	}
	s := slot{stored: *e, name: at(e.Name, layer), expert: -1}
	if !e.Raw {
		s.name += kind
	}
	if kind == ".bias" { // shifts are stored as they are
		s.PlusOne, s.NegExp = false, false
		if e.Bias != "" {
			s.name = at(e.Bias, layer)
		}
	}
	if len(e.Parts) == 0 {
		s.weights = []*Weight{w}
	}
	for _, p := range e.Parts {
		n := at(p, layer)
		if kind == ".bias" {
			n += ".bias"
		}
		part := g.Weight(n)
		if part == nil {
			panic(fmt.Sprintf("model: %s has no part %s", s.name, n))
		}
		s.weights = append(s.weights, part)
		if s.Grouped {
			s.groups = s.unit(part).Axis.Size // the last part's units: key/value heads
		}
	}
	return s
}

// splitName takes a canonical weight name apart: "layers.3.attn.q.bias" is site "layers.#.attn.q", layer 3, ".bias".
func splitName(name string) (site string, layer int, kind string) {
	kind = ".weight"
	if s, ok := strings.CutSuffix(name, ".bias"); ok {
		name, kind = s, ".bias"
	}
	layer = -1
	if rest, ok := strings.CutPrefix(name, "layers."); ok {
		num, tail, _ := strings.Cut(rest, ".")
		layer, _ = strconv.Atoi(num)
		return "layers.#." + tail, layer, kind
	}
	return name, layer, kind
}

// Fused returns the groups of weights that a GGUF file (or else a Hugging Face checkpoint) keeps together in one tensor
// and that must therefore have one format.
func (m *Model) Fused(gguf bool) [][]*Weight {
	all := hfSlots(m.Graph, m.Config.Family)
	if gguf {
		all = ggufSlots(m.Graph, m.Config.Family)
	}
	var out [][]*Weight
	for i := range all {
		if len(all[i].weights) > 1 {
			out = append(out, all[i].weights)
		}
	}
	return out
}

// GGUFNames returns the name of the tensor that holds each weight in a GGUF file, as importance matrices list them.
func (m *Model) GGUFNames() map[*Weight]string {
	out := map[*Weight]string{}
	for _, s := range ggufSlots(m.Graph, m.Config.Family) {
		for _, w := range s.weights {
			out[w] = s.name
		}
	}
	return out
}
