package recipes

import (
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/quantize"
)

// In which format a distill stage trains and stores its student: plain floats; the formats of a quantized student whose scales are
// tuned; or those that training with rounding is aware of.

// rounding says what weights are rounded to while they are trained.
type rounding struct {
	// Format is a GGUF type or mix (Q8_0, Q4_0, Q4_K_M ...) or a safetensors scheme (W4A16, W8A16), in any case.
	Format string `yaml:"format"`
	// GroupSize is the number of weights that share a scale in safetensors schemes; 0 takes the scheme's own, -1 a row.
	GroupSize int `yaml:"group_size"`
	// Targets are the matrices to round, by canonical name or, after re:, by regular expression; none means all.
	Targets []string `yaml:"targets"`
	// Ignore are the matrices that are not rounded, likewise.
	Ignore []string `yaml:"ignore"`
	// AllowFallback permits formats with smaller blocks, or f16, where a row is no multiple of the wanted block.
	AllowFallback bool `yaml:"allow_fallback"`
}

// formats returns what each weight of the student is rounded to; none without qat.
func (s *distillStage) formats(m *model.Model) (map[*model.Weight]codec.Codec, error) {
	if s.QAT == nil {
		return nil, nil
	}
	q := quantize.Settings{Format: s.QAT.Format, GroupSize: s.QAT.GroupSize, Targets: s.QAT.Targets, Ignore: s.QAT.Ignore, AllowFallback: s.QAT.AllowFallback}
	if quantize.RoundsActivations(q.Format) {
		return nil, strict.Bad("qat", "%s rounds activations as well, which training does not see; use a format of weights alone", q.Format)
	}
	choices, err := quantize.Plan(m, q)
	if err != nil {
		return nil, strict.Bad("qat", "%v", err)
	}
	out := map[*model.Weight]codec.Codec{}
	for _, c := range choices {
		if c.Codec != nil {
			out[c.Weight] = c.Codec
		}
	}
	return out, nil
}

// stored says how the result is written: as a GGUF file or a directory, and of which mix.
func (s *distillStage) stored(m *model.Model) (gguf bool, mix string) {
	if s.QAT != nil {
		return !quantize.Packed(s.QAT.Format), s.QAT.Format
	}
	return s.Tune == "scales" && blocked(m), ""
}

// blocked reports a model with weights in blocks that only GGUF files hold.
func blocked(m *model.Model) bool {
	for _, w := range m.Graph.Weights {
		c := m.Tensor(w).Codec
		if _, group := codec.GroupOf(c); group {
			continue
		}
		if n, _ := c.Block(); n > 1 {
			return true
		}
	}
	return false
}

// outline is the student as it will be written: in the formats that training sees, or in the plain type it came in.
func (s *distillStage) outline(m *model.Model) (*model.Model, error) {
	out := m.Outline(m.Config)
	if s.QAT == nil && s.Tune == "scales" {
		return s.zeros(out, func(w *model.Weight) codec.Codec { return m.Tensor(m.Graph.Weight(w.Name)).Codec }), nil
	}
	if s.QAT != nil {
		formats, err := s.formats(m)
		if err != nil {
			return nil, err
		}
		return s.zeros(out, func(w *model.Weight) codec.Codec { return formats[m.Graph.Weight(w.Name)] }), nil
	}
	if t, err := out.As(trainedType(m)); err == nil {
		out = t
	}
	return out, nil
}

// zeros gives weights of an outline formats; nil leaves one as it is.
func (s *distillStage) zeros(out *model.Model, format func(w *model.Weight) codec.Codec) *model.Model {
	tensors := map[*model.Weight]*tensor.Tensor{}
	for _, w := range out.Graph.Weights {
		if c := format(w); c != nil {
			tensors[w] = model.Zeros(w, c)
		}
	}
	return out.With(tensors)
}

// written is the trained student in the type it is stored in.
func (s *distillStage) written(trained, m *model.Model) (*model.Model, error) {
	if s.QAT != nil || s.Tune == "scales" {
		return trained, nil
	}
	return trained.As(trainedType(m))
}
