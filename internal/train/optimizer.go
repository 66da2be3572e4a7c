package train

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// AdamW (Loshchilov & Hutter 2019), as PyTorch computes it: with g clipped to a global norm,
//
//	m = b1 m + (1-b1) g,  v = b2 v + (1-b2) g²
//	p = p (1 - lr decay) - lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)
//
// Matrices decay; norms, biases and, unless asked, embeddings do not.

// Optimizer holds the settings of AdamW.
type Optimizer struct {
	Rate         float64 // peak learning rate
	Beta1, Beta2 float64
	Eps          float64
	Decay        float64 // weight decay
	Clip         float64 // largest global norm of the gradient; 0 means no limit
}

// withDefaults fills in what is zero.
func (o Optimizer) withDefaults() Optimizer {
	set := func(x *float64, d float64) {
		if *x == 0 {
			*x = d
		}
	}
	set(&o.Rate, 1e-3)
	set(&o.Beta1, 0.9)
	set(&o.Beta2, 0.95)
	set(&o.Eps, 1e-8)
	return o
}

func (o *Optimizer) check() error {
	switch {
	case !(o.Rate > 0 && o.Rate < 1):
		return fmt.Errorf("learning rate is %g, must be above 0 and below 1", o.Rate)
	case !(o.Beta1 >= 0 && o.Beta1 < 1) || !(o.Beta2 >= 0 && o.Beta2 < 1):
		return fmt.Errorf("betas are %g and %g, must be at least 0 and below 1", o.Beta1, o.Beta2)
	case !(o.Eps > 0 && o.Eps < 1):
		return fmt.Errorf("epsilon is %g, must be above 0 and below 1", o.Eps)
	case !(o.Decay >= 0 && o.Decay*o.Rate < 1):
		return fmt.Errorf("weight decay is %g, must be at least 0, and below 1/rate", o.Decay)
	case !(o.Clip >= 0):
		return fmt.Errorf("gradient clipping is %g, must be at least 0", o.Clip)
	}
	return nil
}

// The scalars of an update, computed in float64 on the host.
const (
	scalarRate  = iota // lr / (1-b1^t)
	scalarRoot         // 1 / sqrt(1-b2^t)
	scalarDecay        // 1 - lr * decay
	scalarClip         // factor on the gradient
	scalarEMA          // weight of the new value in the mean
	scalarCount
)

// scalars returns them for update t, counted from 1.
func (o *Optimizer) scalars(t int, rate, norm, ema float64) []float32 {
	clip := 1.0
	if o.Clip > 0 && norm > o.Clip {
		clip = o.Clip / (norm + 1e-6)
	}
	s := make([]float32, scalarCount)
	s[scalarRate] = float32(rate / (1 - math.Pow(o.Beta1, float64(t))))
	s[scalarRoot] = float32(1 / math.Sqrt(1-math.Pow(o.Beta2, float64(t))))
	s[scalarDecay] = float32(1 - rate*o.Decay)
	s[scalarClip] = float32(clip)
	s[scalarEMA] = float32(1 - ema)
	return s
}

// updateGraph draws the update of all trained variables. Parameters: the variables, first moments, second moments,
// means where ema is set, gradients, scalars f32 [scalarCount]. Outputs: variables, moments, means.
func updateGraph(trained []*variable, o *Optimizer, ema bool) (params []shapes.Shape, build func(in []*Node) []*Node) {
	sets := 4
	if ema {
		sets = 5
	}
	for range sets {
		for _, v := range trained {
			params = append(params, v.shape())
		}
	}
	params = append(params, shapes.Make(f32Type, scalarCount))
	return params, func(in []*Node) []*Node {
		n := len(trained)
		scalars := in[len(in)-1]
		scalar := func(i int) *Node { return Reshape(SliceAxis(scalars, 0, AxisRange(i, i+1))) }
		rate, root, decay, clip, mean := scalar(scalarRate), scalar(scalarRoot), scalar(scalarDecay), scalar(scalarClip), scalar(scalarEMA)
		out := make([]*Node, (sets-1)*n)
		for i, v := range trained {
			p, m, s, g := in[i], in[n+i], in[2*n+i], Mul(in[(sets-1)*n+i], clip)
			m = Add(MulScalar(m, o.Beta1), MulScalar(g, 1-o.Beta1))
			s = Add(MulScalar(s, o.Beta2), MulScalar(Mul(g, g), 1-o.Beta2))
			if v.decay && o.Decay > 0 {
				p = Mul(p, decay)
			}
			p = Sub(p, Div(Mul(m, rate), AddScalar(Mul(Sqrt(s), root), o.Eps)))
			out[i], out[n+i], out[2*n+i] = p, m, s
			if ema {
				e := in[3*n+i]
				out[3*n+i] = Add(e, Mul(Sub(p, e), mean))
			}
		}
		return out
	}
}

// normGraph draws the sum of the squares of all gradients.
func normGraph(trained []*variable) (params []shapes.Shape, build func(in []*Node) []*Node) {
	for _, v := range trained {
		params = append(params, v.shape())
	}
	return params, func(in []*Node) []*Node {
		sums := make([]*Node, len(in))
		for i, g := range in {
			sums[i] = Reshape(ReduceAllSum(Mul(g, g)), 1)
		}
		return []*Node{Concatenate(sums, 0)}
	}
}

// Schedule is the learning rate over time, as a fraction of its peak.
type Schedule struct {
	Kind   string  // "cosine" (the default), "linear", "constant" or "wsd": constant, with a linear decay over the last Cool
	Warmup int     // steps of linear growth from 0
	Steps  int     // last step
	Floor  float64 // fraction that decay ends at
	Cool   float64 // wsd: fraction of the steps that decay takes; 0 means 0.2
}

// at returns the fraction for a step, counted from 0.
func (s *Schedule) at(step int) float64 {
	if step < s.Warmup {
		return float64(step+1) / float64(s.Warmup)
	}
	done := 1.0
	if s.Steps > s.Warmup {
		done = min(1, float64(step-s.Warmup)/float64(s.Steps-s.Warmup))
	}
	down := func(x float64) float64 { return s.Floor + (1-s.Floor)*x }
	switch s.Kind {
	case "constant":
		return 1
	case "linear":
		return down(1 - done)
	case "wsd":
		cool := s.Cool
		if cool == 0 {
			cool = 0.2
		}
		return down(min(1, (1-done)/cool))
	}
	return down((1 + math.Cos(math.Pi*done)) / 2)
}

func (s *Schedule) check() error {
	switch {
	case s.Kind != "" && s.Kind != "cosine" && s.Kind != "linear" && s.Kind != "constant" && s.Kind != "wsd":
		return fmt.Errorf("unknown schedule %q: cosine, linear, constant or wsd", s.Kind)
	case s.Steps < 1 || s.Warmup < 0 || s.Warmup > s.Steps:
		return fmt.Errorf("schedule of %d steps with %d of warm-up", s.Steps, s.Warmup)
	case !(s.Floor >= 0 && s.Floor <= 1) || !(s.Cool >= 0 && s.Cool <= 1):
		return fmt.Errorf("schedule floor %g and cool-down %g must be between 0 and 1", s.Floor, s.Cool)
	}
	return nil
}
