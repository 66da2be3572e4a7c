package quantize

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
)

// Settings says how to quantize a model.
type Settings struct {
	// Format is a GGUF type or mix (Q8_0, Q4_0, Q4_K_M ...) or a safetensors scheme (W4A16, W8A16, W4A16_ASYM), in any case.
	Format string `yaml:"format"`
	// Algorithm is how codes are chosen: rtn (round to nearest, needs no data) or gptq.
	Algorithm string `yaml:"algorithm"`
	// GroupSize is the number of weights that share a scale in safetensors schemes; 0 takes the scheme's own, -1 a row.
	GroupSize int `yaml:"group_size"`
	// Layout is how safetensors schemes are stored: compressed-tensors, or gptq, which AutoGPTQ made common.
	Layout string `yaml:"layout"`
	// Targets are the matrices to quantize, by canonical name or, after re:, by regular expression; none means all.
	Targets []string `yaml:"targets"`
	// Ignore are the matrices to leave as they are, likewise.
	Ignore []string `yaml:"ignore"`
	// TargetBPW bounds the bits per weight of the whole model: every matrix then gets the format that loses least within it.
	// Format says whether formats of GGUF or of packed safetensors checkpoints are chosen from.
	TargetBPW float64 `yaml:"target_bpw" min:"0" max:"32"`
	// TargetSize bounds the size of the file likewise: 400MB, 1.5GiB or bytes.
	TargetSize string `yaml:"target_size"`
	// MaxKLD asks for the smallest model whose mean divergence from the original, rounded to nearest, stays within it.
	MaxKLD float64 `yaml:"max_kld" min:"0"`
	// Rotate sees the model in another basis before anything is rounded: none, or hadamard, which spreads outliers over all
	// channels. Families whose graph forbids it are refused; a tied head becomes a matrix of its own.
	Rotate string `yaml:"rotate"`
	// LowRank is the rank of a correction of what rounding lost in each matrix, kept in bfloat16 as a LoRA adapter beside the
	// model; 0 makes none.
	LowRank int `yaml:"low_rank" min:"0" max:"1024"`
	// MaxRAM bounds the memory, like 6GB: work that would take more is refused before it begins. It changes no result.
	MaxRAM string `yaml:"max_ram" result:"same"`
	// AllowFallback permits formats with smaller blocks, or f16, where a row is no multiple of the wanted block.
	AllowFallback bool `yaml:"allow_fallback"`
}

// Choice is the format of one weight.
type Choice struct {
	Weight *model.Weight
	Codec  codec.Codec // nil keeps the weight as it is
	Wanted string      // the format that did not fit, where Codec is a fallback
}

// Budgeted reports whether formats are chosen by what they lose, which needs calibration text and a search.
func (s *Settings) Budgeted() bool { return s.TargetBPW > 0 || s.TargetSize != "" || s.MaxKLD > 0 }

// Plan chooses a format for every weight of m, in drawing order, without reading any. With a budget it is what the search
// starts from.
func Plan(m *model.Model, s Settings) ([]Choice, error) {
	if err := s.checkBudget(); err != nil {
		return nil, err
	}
	return s.mixed(m)
}

// mixed is Plan without a budget.
func (s Settings) mixed(m *model.Model) ([]Choice, error) {
	x, err := lookupMix(s.Format)
	if err != nil {
		return nil, err
	}
	if x.linear {
		switch size := s.GroupSize; {
		case x.activations && size != 0 && size != -1:
			return nil, fmt.Errorf("group_size is %d; %s has one scale a row", size, s.Format)
		case size == 0 && x.group > 0:
			x.base += "g" + strconv.Itoa(x.group)
		case size > 0:
			x.base += "g" + strconv.Itoa(size)
		case size < -1:
			return nil, fmt.Errorf("group_size is %d, must be positive, 0 for the scheme's own or -1 for a row", size)
		}
	} else if s.GroupSize != 0 {
		return nil, fmt.Errorf("group_size has no meaning for %s, whose blocks are fixed", s.Format)
	}
	if x.base, err = s.layout(&x); err != nil {
		return nil, err
	}
	if _, err := codec.Lookup(x.base); err != nil {
		return nil, fmt.Errorf("format %s with group size %d: %w", s.Format, s.GroupSize, err)
	}
	chosen, err := s.selected(m.Graph)
	if err != nil {
		return nil, err
	}
	var out []Choice
	byWeight := map[*model.Weight]*Choice{}
	for _, w := range m.Graph.Weights {
		c := Choice{Weight: w}
		if w.Role != model.RoleVector && chosen[w] {
			if f := x.format(m, w); f != "" {
				if c.Codec, err = fit(f, w.Shape()[len(w.Dims)-1]); err != nil {
					return nil, err
				}
				if c.Codec.Name() != f {
					c.Wanted = f
				}
			}
		}
		if w.Role != model.RoleVector && c.Codec == nil {
			c.Codec = plain(m.Tensor(w))
		}
		out = append(out, c)
	}
	for i := range out {
		byWeight[out[i].Weight] = &out[i]
	}
	for _, group := range m.Fused(!x.linear) { // parts of one tensor: the value projection speaks for q, k and v
		last := byWeight[group[len(group)-1]]
		for _, w := range group {
			if c := byWeight[w]; w.Role != model.RoleVector {
				c.Codec, c.Wanted = last.Codec, last.Wanted
			}
		}
	}
	if s.Budgeted() {
		return out, nil // the search chooses among formats that fit
	}
	return out, s.checkFallbacks(out)
}

// layout returns the format of a mix in the layout that is wanted.
func (s *Settings) layout(x *mix) (string, error) {
	switch s.Layout {
	case "", "compressed-tensors":
		return x.base, nil
	case "gptq":
		if !x.linear || x.activations {
			return "", fmt.Errorf("layout gptq holds W4A16, W4A16_ASYM and W8A16, not %s", DisplayName(s.Format))
		}
		if s.Budgeted() {
			return "", fmt.Errorf("layout gptq has one format for all matrices: a budget has nothing to choose")
		}
		return x.base + "h", nil
	}
	return "", fmt.Errorf("layout is %q, must be compressed-tensors or gptq", s.Layout)
}

// format returns the wanted format of a weight, "" to keep it.
func (x *mix) format(m *model.Model, w *model.Weight) string {
	output := w.Name == "head" || w.Name == "embed" && m.Config.Tied
	switch {
	case strings.HasSuffix(w.Name, ".router"):
		return "" // small, and a wrong choice of experts costs more than its bytes
	case w.Name == "positions":
		return "" // likewise: a few rows that touch every token; no other program quantizes them
	case x.linear:
		if output || w.Role == model.RoleEmbed {
			return ""
		}
		return x.base
	case output:
		return outputFormat(x.base, m, w)
	}
	layer, kind := -1, w.Name
	if rest, ok := strings.CutPrefix(w.Name, "layers."); ok {
		num, tail, _ := strings.Cut(rest, ".")
		layer, _ = strconv.Atoi(num)
		kind = tail
	}
	rules := map[string]func(i, n, gqa int) string{"attn.v": x.v, "attn.o": x.o, "mlp.down": x.down, "mlp.experts.down": x.down}
	if f := rules[kind]; f != nil {
		l := &m.Config.Layers[layer]
		if better := f(layer, len(m.Config.Layers), l.Heads/max(l.KVHeads, 1)); better != "" {
			return better
		}
	}
	return x.base
}

// outputFormat returns the format of the matrix that makes the logits: Q6_K, or Q8_0 where the mix is that already or
// rows do not fit.
func outputFormat(base string, m *model.Model, w *model.Weight) string {
	c, err := codec.Lookup(base)
	if err != nil {
		return base
	}
	n, _ := c.Block()
	switch {
	case n == 1, base == "q8_0":
		return base
	case w.Shape()[1]%256 != 0, m.Config.Family.Name == "falcon":
		return "q8_0"
	}
	return "q6_k"
}

// selected applies Targets and Ignore. A pattern that matches nothing is an error.
func (s *Settings) selected(g *model.Graph) (map[*model.Weight]bool, error) {
	match := func(what string, patterns []string) (map[*model.Weight]bool, error) {
		found := map[*model.Weight]bool{}
		for _, p := range patterns {
			any := false
			test, err := strict.Pattern(p)
			if err != nil {
				return nil, fmt.Errorf("%s %w", what, err)
			}
			for _, w := range g.Weights {
				if w.Role != model.RoleVector && test(w.Name) {
					found[w], any = true, true
				}
			}
			if !any {
				return nil, fmt.Errorf("%s %q matches no matrix of the model; names are like embed, layers.0.attn.q, layers.0.mlp.down, head", what, p)
			}
		}
		return found, nil
	}
	targets, err := match("targets", s.Targets)
	if err != nil {
		return nil, err
	}
	ignore, err := match("ignore", s.Ignore)
	if err != nil {
		return nil, err
	}
	out := map[*model.Weight]bool{}
	for _, w := range g.Weights {
		out[w] = (len(s.Targets) == 0 || targets[w]) && !ignore[w]
	}
	return out, nil
}

// checkFallbacks refuses formats that nobody asked for unless they are allowed.
func (s *Settings) checkFallbacks(choices []Choice) error {
	if s.AllowFallback {
		return nil
	}
	n, first := 0, ""
	for _, c := range choices {
		if c.Wanted == "" {
			continue
		}
		if n++; first == "" {
			first = fmt.Sprintf("%s has rows of %d values, which are no multiple of a %s block and would become %s",
				c.Weight.Name, c.Weight.Shape()[len(c.Weight.Dims)-1], c.Wanted, c.Codec.Name())
		}
	}
	if n > 0 {
		return fmt.Errorf("%d matrices cannot be %s: %s; set allow_fallback to accept that, or choose another format", n, s.Format, first)
	}
	return nil
}

// Bytes returns the size of all weights under a plan, when vectors are stored as vector says.
func Bytes(m *model.Model, choices []Choice) int64 {
	var total int64
	for _, c := range choices {
		t := m.Tensor(c.Weight)
		if c.Codec == nil {
			total += t.Bytes()
			continue
		}
		rb, _ := codec.RowBytes(c.Codec, t.Cols())
		total += int64(rb) * int64(t.Rows())
	}
	return total
}
