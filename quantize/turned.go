package quantize

import (
	"context"
	"fmt"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// A rotation spreads outliers where there are some, and mixes channels that were well kept apart where there are none. So it is
// tried: the model is rounded to nearest in both bases, and the rotated one is used where it comes closer. With calibration
// text that is the divergence of the whole model on some of it. Without, or where the model is large, it is the mean
// relative error of its matrices, each column weighed by the square of the norm's scale before it, which is all that is known
// of the inputs.

// judgedBytes is the size of a model up to which rotations are judged on the whole of it, held in memory twice.
const judgedBytes = 1 << 30

// turned returns the model that is quantized, and a note where the rotation that is asked for does not help.
func (s *Settings) turned(ctx context.Context, m *model.Model, o Options) (*model.Model, string, error) {
	r, err := s.Prepare(m)
	if err != nil || r == m {
		return r, "", err
	}
	measure, what := s.meanError, "mean relative error of the matrices"
	if len(o.Samples) > 0 && m.Bytes() <= judgedBytes {
		measure, what = s.roundedDivergence, "divergence"
	}
	before, err := measure(ctx, m, o)
	if err != nil {
		return nil, "", err
	}
	after, err := measure(ctx, r, o)
	if err != nil {
		return nil, "", err
	}
	if after < before {
		return r, "", nil
	}
	return m, fmt.Sprintf("rotate %s would not help: rounded to nearest, the %s is %.4g in the rotated basis and %.4g as it is: not rotated", s.Rotate, what, after, before), nil
}

// roundedDivergence returns the divergence of a model, rounded to nearest by the plan, from itself.
func (s *Settings) roundedDivergence(ctx context.Context, m *model.Model, o Options) (float64, error) {
	plan, err := s.mixed(m)
	if err != nil {
		return 0, err
	}
	j, err := newJudge(ctx, m, o.Samples, judgeTokens)
	if err != nil {
		return 0, err
	}
	rounded := map[*model.Weight]*tensor.Tensor{}
	for _, c := range plan {
		if c.Codec == nil {
			continue
		}
		p, err := some(m, c, m.Tensor(c.Weight).Rows())
		if err != nil {
			return 0, err
		}
		data, err := (&RTN{}).encoded(ctx, p)
		if err != nil {
			return 0, err
		}
		rounded[c.Weight] = tensor.FromBytes(c.Weight.Name, c.Codec, c.Weight.Shape(), data)
	}
	return j.divergence(ctx, m.With(rounded))
}

// meanError returns the mean relative error of the matrices of a model, rounded to nearest by the plan.
func (s *Settings) meanError(ctx context.Context, m *model.Model, _ Options) (float64, error) {
	plan, err := s.mixed(m)
	if err != nil {
		return 0, err
	}
	norms, scales := map[*model.Weight]*model.Node{}, map[*model.Node][]float32{}
	for _, n := range m.Graph.Nodes {
		if n.Op == model.OpLinear && n.In[0].Op == model.OpNorm {
			norms[n.Weight(0)] = n.In[0]
		}
	}
	var sum float64
	count := 0
	for _, c := range plan {
		if c.Codec == nil || c.Weight.Role != model.RoleMatrix {
			continue
		}
		p, err := some(m, c, probeRows)
		if err != nil {
			return 0, err
		}
		if n := norms[c.Weight]; n != nil {
			gamma, err := scaleOf(m, n, scales)
			if err != nil {
				return 0, err
			}
			p.Inputs = &calib.Point{Width: p.Cols, Rows: 1, SumSq: make([]float64, p.Cols)}
			for j := range p.Inputs.SumSq {
				p.Inputs.SumSq[j] = float64(gamma[j%len(gamma)]) * float64(gamma[j%len(gamma)])
			}
		}
		r, err := (&RTN{}).Solve(ctx, p)
		if err != nil {
			return 0, err
		}
		sum, count = sum+r.Error, count+1
	}
	return sum / float64(max(count, 1)), nil
}

// some returns the problem of about n evenly spread rows of a weight.
func some(m *model.Model, c Choice, n int) (*Problem, error) {
	t := m.Tensor(c.Weight)
	step := (t.Rows() + n - 1) / n
	p := &Problem{Name: c.Weight.Name, Rows: (t.Rows() + step - 1) / step, Cols: t.Cols(), Codec: c.Codec, Stacked: len(c.Weight.Dims) == 3 && step == 1}
	p.W = make([]float32, p.Rows*p.Cols)
	if step == 1 {
		return p, t.ReadFloat32(p.W, 0, p.Rows)
	}
	for i := range p.Rows {
		if err := t.ReadFloat32(p.W[i*p.Cols:(i+1)*p.Cols], i*step, i*step+1); err != nil {
			return nil, err
		}
	}
	return p, nil
}
