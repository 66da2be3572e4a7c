package quantize

// SmoothQuant (Xiao et al. 2023): where activations are rounded too, a few channels with large values make the steps coarse
// for all. Part of their size moves into the weights,
//
//	s_j = max|X_j|^α / max|W_j|^(1-α)    (eq. 4)
//
// so that both are about equally hard to round at α = 1/2. Weights are then rounded to nearest, or with error feedback.

import (
	"context"
	"math"

	"github.com/parelm/pare/internal/calib"
)

func init() { algorithms["smoothquant"] = func() Algorithm { return &SmoothQuant{Alpha: 0.5} } }

// SmoothQuant balances activations and weights, for formats that round both (W8A8).
type SmoothQuant struct {
	// Alpha is the share of the activations' range that moves into the weights, in the exponent.
	Alpha float64 `yaml:"smoothing_strength" min:"0" max:"1"`
	// Feedback rounds with error feedback (GPTQ) instead of to nearest.
	Feedback bool `yaml:"feedback"`
}

// Needs asks for the channels' ranges, and for the second moment where errors are fed back.
func (a *SmoothQuant) Needs() *calib.Needs { return &calib.Needs{Hessian: a.Feedback} }

// Solve rounds the scaled matrix.
func (a *SmoothQuant) Solve(ctx context.Context, p *Problem) (*Result, error) {
	if a.Feedback {
		return (&GPTQ{ActOrder: "static", DampeningFrac: 0.01, Clip: true, Sweeps: 4}).Solve(ctx, p)
	}
	return (&RTN{}).Solve(ctx, p)
}

// Scales follows equation 4. Channels that are never active, or that nothing reads, keep their scale.
func (a *SmoothQuant) Scales(_ context.Context, f *FoldProblem) ([]float32, error) {
	x, w := make([]float32, f.Channels), make([]float32, f.Channels)
	in := f.Readers[0].Inputs
	for j, c := range f.Channel {
		x[c] = max(x[c], in.MaxAbs[j])
	}
	for _, p := range f.Readers {
		for i, v := range p.W {
			c := f.Channel[i%p.Cols]
			w[c] = max(w[c], v, -v)
		}
	}
	s := make([]float32, f.Channels)
	for c := range s {
		s[c] = 1
		if x[c] > 0 && w[c] > 0 {
			s[c] = float32(max(math.Pow(float64(x[c]), a.Alpha)/math.Pow(float64(w[c]), 1-a.Alpha), 1e-5))
		}
	}
	return s, nil
}
