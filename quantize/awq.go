package quantize

// AWQ (Lin et al. 2024): the few channels with large inputs carry most of the output, so their weights are to be met more
// closely. Multiplying a column of W by s and dividing its input by s makes its rounding error s times smaller in the
// output, at the cost of the others in its group. Per fold of the graph, s is searched in one dimension:
//
//	s_j = (mean |x_j|)^α / (mean |w_j|)^β / geometric centre,   α, β = argmin |Q(W s) s⁻¹ X - W X|²    (eq. 4 and 5)
//
// with the loss taken exactly from the second moment of X rather than from samples. β is 0 as in the paper, or 1-α as in its
// program ("duo scaling"), w being a weight's share of the largest in its group of the row. The paper then rounds to
// nearest within clipped ranges; here errors are fed back as GPTQ does (feedback: false is the paper's way). The two go
// together: scales say which channels a grid meets closely, feedback makes up for what it does not, also in matrices whose
// inputs cannot be scaled, like the down projection behind a GELU.

import (
	"context"
	"math"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/model/codec"
)

func init() {
	algorithms["awq"] = func() Algorithm { return &AWQ{Grid: 20, Clip: true, Feedback: true} }
}

// AWQ is activation-aware scaling with error feedback.
type AWQ struct {
	// Grid is how many exponents between 0 and 1 are tried.
	Grid int `yaml:"grid" min:"1" max:"1000"`
	// Clip searches the range of each group of an integer format.
	Clip bool `yaml:"clip"`
	// Feedback rounds with error feedback (GPTQ) instead of to nearest once the scales are found.
	Feedback bool `yaml:"feedback"`
}

// Needs asks for the second moment, which gives every loss.
func (a *AWQ) Needs() *calib.Needs { return &calib.Needs{Hessian: true} }

// Solve rounds the scaled matrix.
func (a *AWQ) Solve(ctx context.Context, p *Problem) (*Result, error) {
	if a.Feedback {
		return (&GPTQ{ActOrder: "static", DampeningFrac: 0.01, Clip: a.Clip, Sweeps: 4}).Solve(ctx, p)
	}
	return (&RTN{Importance: true, Clip: a.Clip}).Solve(ctx, p)
}

// awqRows is how many rows of each reader the search looks at.
const awqRows = 256

// Scales searches the exponent.
func (a *AWQ) Scales(ctx context.Context, f *FoldProblem) ([]float32, error) {
	in := f.Readers[0].Inputs
	mean, count := make([]float64, f.Channels), make([]float64, f.Channels)
	for j, c := range f.Channel {
		mean[c] += in.SumAbs[j] / float64(max(in.Rows, 1))
		count[c]++
	}
	for c := range mean {
		mean[c] /= count[c]
	}
	weights := f.weights()
	least, err := a.loss(ctx, f, ones(f.Channels))
	if err != nil {
		return nil, err
	}
	var best []float32 // nothing to move
	for k := range 2 * a.Grid {
		alpha, beta := float64(k/2)/float64(a.Grid), 0.0
		if k%2 == 1 {
			beta = 1 - alpha
		}
		if alpha == 0 && beta == 0 {
			continue
		}
		s := powers(mean, weights, alpha, beta)
		loss, err := a.loss(ctx, f, s)
		if err != nil {
			return nil, err
		}
		if loss < least {
			least, best = loss, s
		}
	}
	return best, nil
}

// weights returns how large the readers' weights of each channel are beside the others in their rows, on average.
func (f *FoldProblem) weights() []float64 {
	w, count := make([]float64, f.Channels), make([]float64, f.Channels)
	for _, p := range f.Readers {
		group := p.Cols
		if p.Codec != nil {
			if n, _ := p.Codec.Block(); n > 1 {
				group = n
			}
		}
		for lo := 0; lo < len(p.W); lo += group {
			part := p.W[lo:min(lo+group, len(p.W))]
			var top float32
			for _, v := range part {
				top = max(top, v, -v)
			}
			if top == 0 {
				continue
			}
			for i, v := range part {
				c := f.Channel[(lo+i)%p.Cols]
				w[c] += float64(max(v, -v) / top)
				count[c]++
			}
		}
	}
	for c := range w {
		w[c] /= max(count[c], 1)
	}
	return w
}

// powers returns mean^α / weight^β over the geometric centre of its largest and smallest value.
func powers(mean, weight []float64, alpha, beta float64) []float32 {
	v := make([]float64, len(mean))
	least, top := math.Inf(1), 0.0
	for c, m := range mean {
		v[c] = math.Pow(max(m, 1e-4), alpha) / math.Pow(max(weight[c], 1e-4), beta)
		least, top = min(least, v[c]), max(top, v[c])
	}
	centre := math.Sqrt(least * top)
	s := make([]float32, len(v))
	for c := range v {
		s[c] = float32(v[c] / centre)
	}
	return s
}

// loss returns the output error of all readers under the scales, on some of their rows.
func (a *AWQ) loss(ctx context.Context, f *FoldProblem, s []float32) (float64, error) {
	columns := f.spread(s)
	var sum float64
	for _, p := range f.Readers {
		if p.Codec == nil {
			continue
		}
		step := (p.Rows + awqRows - 1) / awqRows
		var rows []int
		for r := 0; r < p.Rows; r += step {
			rows = append(rows, r)
		}
		w := p.gather(rows)
		scaled := make([]float32, len(w))
		for i, v := range w {
			scaled[i] = v * columns[i%p.Cols]
		}
		importance := p.Inputs.Importance()
		for j := range importance {
			importance[j] /= columns[j] * columns[j]
		}
		if err := a.round(ctx, p, scaled, importance); err != nil {
			return 0, err
		}
		for i, v := range w {
			w[i] = v - scaled[i]/columns[i%p.Cols]
		}
		sum += p.energy(w, len(rows))
	}
	return sum, nil
}

// round replaces rows by what their rounded form decodes to.
func (a *AWQ) round(ctx context.Context, p *Problem, rows, importance []float32) error {
	rb, err := codec.RowBytes(p.Codec, p.Cols)
	if err != nil {
		return err
	}
	g, err := gridOf(p.Codec)
	own := err == nil && g.own && a.Clip
	forRows(len(rows)/p.Cols, p.Cols, func(lo, hi int) {
		data := make([]byte, rb)
		for r := lo; r < hi && ctx.Err() == nil; r++ {
			x := rows[r*p.Cols : (r+1)*p.Cols]
			if own {
				g.encode(data, x, importance)
			} else {
				p.Codec.Encode(data, x, importance)
			}
			p.Codec.Decode(x, data)
		}
	})
	return ctx.Err()
}
