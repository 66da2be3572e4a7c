package cli

import (
	"fmt"
	"strings"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/quantize"
)

// What `pare inspect` says in words of a drawing.

// describe fills in what the configuration and the graph say.
func (v *inspection) describe(m *model.Model) {
	c := m.Config
	for _, l := range c.Layers {
		v.FFN, v.Heads, v.KVHeads = append(v.FFN, l.FFN), append(v.Heads, l.Heads), append(v.KVHeads, l.KVHeads)
		v.HeadDim, v.Windows, v.Experts = append(v.HeadDim, l.HeadDim), append(v.Windows, l.Window), append(v.Experts, l.Experts)
		v.CacheBytes += 2 * 2 * int64(l.KVHeads) * int64(l.HeadDim)
	}
	v.Positions, v.MLP, v.Norm = positions(c), mlp(c), norm(c)
	v.ActiveParameters = v.Parameters
	total := map[string]int64{}
	var order []string
	for _, w := range m.Graph.Weights {
		n := int64(w.Len())
		part := partOf(w)
		if total[part] == 0 {
			order = append(order, part)
		}
		total[part] += n
		if strings.Contains(w.Name, ".experts.") {
			l := c.Layers[w.Dims[0].Axis.Layer]
			v.ActiveParameters -= n / int64(l.Experts) * int64(l.Experts-l.Route.TopK)
		}
	}
	for _, p := range order {
		v.Parts = append(v.Parts, inspectPart{p, total[p]})
	}
}

// partOf names the part of the model that a weight belongs to.
func partOf(w *model.Weight) string {
	name := strings.TrimSuffix(w.Name, ".bias")
	switch {
	case name == "embed":
		return "embedding"
	case name == "head", name == "positions":
		return name
	case strings.HasSuffix(name, "norm"), strings.Contains(name, "norm_parallel"):
		return "norms"
	case strings.Contains(name, ".mlp.experts."):
		return "experts"
	case strings.Contains(name, ".attn."):
		return "attention"
	case strings.Contains(name, ".mlp."):
		return "mlp"
	}
	return "mixer" // recurrent blocks
}

// positions says how the model knows where a token stands.
func positions(c *model.Config) string {
	var kinds []string
	add := func(format string, args ...any) {
		s := fmt.Sprintf(format, args...)
		for _, k := range kinds {
			if k == s {
				return
			}
		}
		kinds = append(kinds, s)
	}
	if c.Positions > 0 {
		add("learned, %d", c.Positions)
	}
	for _, l := range c.Layers {
		switch r := l.Rope; {
		case r != nil:
			s := fmt.Sprintf("rotary, theta %g", r.Theta)
			if r.Dim < l.HeadDim {
				s += fmt.Sprintf(", %d of %d values", r.Dim, l.HeadDim)
			}
			if k := r.Scaling.Kind; k != "" {
				s += ", " + k + " scaling"
				if r.Scaling.Factor > 0 {
					s += fmt.Sprintf(" by %g", r.Scaling.Factor)
				}
			}
			add("%s", s)
		case l.Alibi != nil:
			add("alibi")
		case l.Heads > 0 && c.Positions == 0:
			add("none")
		case l.Heads == 0:
			add("by recurrence")
		}
	}
	return strings.Join(kinds, "; in other layers ")
}

// mlp says what the feed-forward blocks are.
func mlp(c *model.Config) string {
	var ffn []int
	var dense, mixture *model.Layer
	for i := range c.Layers {
		l := &c.Layers[i]
		ffn = append(ffn, l.FFN)
		if l.Experts > 0 {
			mixture = l
		} else {
			dense = l
		}
	}
	one := func(l *model.Layer, width string) string {
		s := width
		if l.Act != "" {
			s += ", " + string(l.Act)
		}
		if l.Gated {
			s += ", gated"
		}
		return s
	}
	if mixture == nil {
		return one(dense, "width "+same(ffn))
	}
	s := one(mixture, fmt.Sprintf("%d experts of width %d, %d for each token", mixture.Experts, mixture.FFN, mixture.Route.TopK))
	if mixture.Shared > 0 {
		s += fmt.Sprintf(", one of width %d for all", mixture.Shared)
	}
	if dense != nil {
		s += fmt.Sprintf("; other layers of width %d", dense.FFN)
	}
	return s
}

// norm says how values are normalised.
func norm(c *model.Config) string {
	s := "RMSNorm"
	if c.Norm.Kind == "layer" {
		s = "LayerNorm"
	}
	switch {
	case !c.NormWeight:
		s += " without parameters"
	case c.NormBias:
		s += " with shift"
	case c.Norm.PlusOne:
		s += " with scale 1 + w"
	}
	s += fmt.Sprintf(", epsilon %g", c.Norm.Eps)
	if c.Layers[0].QKNorm != "" {
		s += "; of queries and keys too"
	}
	return s
}

// plannedFormats are those that a config.json is priced in.
var plannedFormats = []string{"q8_0", "q6_k", "q4_k_m", "q4_0", "w8a16", "w4a16"}

// plan adds what the model would take in other formats.
func (v *inspection) plan(m *model.Model) {
	for _, f := range plannedFormats {
		choices, err := quantize.Plan(m, quantize.Settings{Format: f, AllowFallback: true})
		if err != nil {
			continue // rows that the format cannot hold
		}
		n := quantize.Bytes(m, choices)
		v.Sizes = append(v.Sizes, inspectSize{quantize.DisplayName(f), n, 8 * float64(n) / float64(v.Parameters)})
	}
}
