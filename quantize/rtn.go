package quantize

// Round to nearest: each block by itself, as the format's encoder does it. The encoders of ggml's formats search scales
// that minimise the squared error; with Importance they weigh it by the mean square of the inputs, which is what an
// importance matrix does.

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
	rb, err := codec.RowBytes(p.Codec, p.Cols)
	if err != nil {
		return nil, err
	}
	var importance []float32
	if a.Importance && p.Inputs != nil {
		importance = p.importance()
	}
	data := make([]byte, p.Rows*rb)
	forRows(p.Rows, p.Cols, func(lo, hi int) {
		if ctx.Err() != nil {
			return
		}
		for r := lo; r < hi; r++ {
			p.Codec.Encode(data[r*rb:(r+1)*rb], p.W[r*p.Cols:(r+1)*p.Cols], importance)
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return p.finish(data, ""), nil
}

// importance returns the mean square of each input channel.
func (p *Problem) importance() []float32 {
	v := make([]float32, p.Cols)
	for j, s := range p.Inputs.SumSq {
		v[j] = float32(s / float64(max(p.Inputs.Rows, 1)))
	}
	return v
}
