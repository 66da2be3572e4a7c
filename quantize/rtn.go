package quantize

// Round to nearest: each block by itself, as the format's encoder does it. The encoders of ggml's formats search scales
// that minimise the squared error; with Importance they weigh it by the mean square of the inputs, which is what an
// importance matrix does, byte for byte as llama.cpp. Integer formats take the range of each group, or with Clip the
// share of it that loses least: fewer large values are met exactly and all others more closely.

import (
	"context"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/model/codec"
)

func init() { algorithms["rtn"] = func() Algorithm { return &RTN{} } }

// RTN is round to nearest.
type RTN struct {
	// Importance weighs errors by the mean square of each input channel on the calibration text.
	Importance bool `yaml:"importance"`
	// Clip searches the range of each group of an integer format.
	Clip bool `yaml:"clip"`
}

// Needs asks for the mean squares that calibration always gathers, if at all.
func (a *RTN) Needs() *calib.Needs {
	if a.Importance {
		return &calib.Needs{}
	}
	return nil
}

// Solve encodes every row.
func (a *RTN) Solve(ctx context.Context, p *Problem) (*Result, error) {
	data, err := a.encoded(ctx, p)
	if err != nil {
		return nil, err
	}
	return p.finish(data, ""), nil
}

// encoded returns the rows without their error.
func (a *RTN) encoded(ctx context.Context, p *Problem) ([]byte, error) {
	rb, err := codec.RowBytes(p.Codec, p.Cols)
	if err != nil {
		return nil, err
	}
	enc, err := a.encoder(p)
	if err != nil {
		return nil, err
	}
	data := make([]byte, p.Rows*rb)
	forRows(p.Rows, p.Cols, func(lo, hi int) {
		if ctx.Err() != nil {
			return
		}
		for r := lo; r < hi; r++ {
			enc.row(data[r*rb:(r+1)*rb], p.W[r*p.Cols:(r+1)*p.Cols], enc.importance(r))
		}
	})
	return data, ctx.Err()
}

// encoder returns how the rows of a problem are encoded, whose values it does not look at.
func (a *RTN) encoder(p *Problem) (encoder, error) {
	experts := p.experts()
	importances := make([][]float32, experts)
	for e := range importances {
		if a.Importance && p.Inputs != nil {
			importances[e] = p.Inputs.ExpertImportance(e)
		}
	}
	row := p.Codec.Encode
	if _, own := codec.GroupOf(p.Codec); own && a.Clip {
		g, err := gridOf(p.Codec)
		if err != nil {
			return encoder{}, err
		}
		for e := range importances {
			if importances[e] == nil {
				importances[e] = ones(p.Cols)
			}
		}
		row = g.encode
	}
	return encoder{row, func(r int) []float32 { return importances[r*experts/p.Rows] }}, nil
}

// experts returns how many stacked matrices have inputs of their own.
func (p *Problem) experts() int {
	if p.Inputs != nil && len(p.Inputs.ExpertSumSq) > 0 && p.Rows%len(p.Inputs.ExpertSumSq) == 0 && p.Stacked {
		return len(p.Inputs.ExpertSumSq)
	}
	return 1
}

func ones(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// encode rounds a row whose parameters are searched by the importances.
func (g *grid) encode(dst []byte, src, importance []float32) {
	n := g.values
	if n == 0 {
		n = len(src)
	}
	size := len(dst) / (len(src) / n)
	for k := range len(src) / n {
		x := src[k*n : (k+1)*n]
		c := g.fit(x, importance[k*n:(k+1)*n])
		for i, v := range x {
			c.round(i, v)
		}
		c.put(dst[k*size : (k+1)*size])
	}
}
