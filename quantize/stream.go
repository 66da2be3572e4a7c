package quantize

import (
	"context"
	"fmt"
	"sync"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// Rounding to nearest asks nothing of a matrix but the row at hand. So nothing needs to be kept: a streamed matrix is
// encoded while the model is written, in pieces that stay in a core's cache, and the checkpoint is read once. There is no
// journal, since starting over costs hardly more than reading what was done.

// Streams reports whether matrices can be encoded while the model is written: an algorithm that rounds to nearest,
// without calibration text.
func (s *Settings) Streams(a Algorithm, x *calib.Imatrix) bool {
	_, rounds := a.(*RTN)
	return rounds && !s.NeedsText(a, x)
}

const (
	streamValues = 1 << 15 // values encoded at a time
	streamRows   = 128     // evenly spread rows of each matrix on which the error is measured
)

// streamed is a matrix that is encoded when its rows are read.
type streamed struct {
	from   *tensor.Tensor
	file   string
	name   string
	encode encoder
	to     codec.Codec
	rb     int // bytes of an encoded row
	// Every step-th row is measured: squares of the values and of what they lost, each weighed by the importances.
	step   int
	mu     sync.Mutex
	energy []float64
	lost   []float64
}

// encoder is how the rows of a matrix are encoded; r is the row's number.
type encoder struct {
	row        func(dst []byte, src, importance []float32)
	importance func(r int) []float32
}

// stream makes the tensor of a weight.
func (w *work) stream(wt *model.Weight, importance *calib.Point) error {
	t := w.m.Tensor(wt)
	p := &Problem{Name: wt.Name, Rows: t.Rows(), Cols: t.Cols(), Codec: w.todo[wt], Inputs: importance, Stacked: len(wt.Dims) == 3}
	a := w.a.(*RTN)
	if n, _ := p.Codec.Block(); n == 1 {
		p.Inputs = nil // plain numbers have nothing to choose
	}
	if p.Inputs != nil {
		a = &RTN{Importance: true}
	}
	enc, err := a.encoder(p)
	if err != nil {
		return err
	}
	s := &streamed{from: t, file: w.m.Path, name: wt.Name, encode: enc, to: p.Codec, step: max(1, p.Rows/streamRows)}
	if s.rb, err = codec.RowBytes(p.Codec, p.Cols); err != nil {
		return err
	}
	n := (p.Rows + s.step - 1) / s.step
	s.energy, s.lost = make([]float64, n), make([]float64, n)
	w.tensors[wt] = &tensor.Tensor{Name: wt.Name, Codec: p.Codec, Shape: wt.Shape(), Src: s}
	w.reports[wt] = TensorReport{Name: wt.Name, Format: p.Codec.Name()}
	w.streams = append(w.streams, s)
	return nil
}

// pieces is the room for one piece.
type pieces struct {
	raw    []byte
	values []float32
	back   []float32
}

var piecePool = sync.Pool{New: func() any { return &pieces{} }}

// ReadRows encodes rows [lo,hi).
func (s *streamed) ReadRows(dst []byte, lo, hi int) error {
	cols, raw := s.from.Cols(), s.from.RowBytes()
	if cols == 0 {
		return nil
	}
	step := max(1, streamValues/cols)
	p := piecePool.Get().(*pieces)
	defer piecePool.Put(p)
	p.raw, p.values, p.back = grown(p.raw, step*raw), grown(p.values, step*cols), grown(p.back, cols)
	for r := lo; r < hi; r += step {
		end := min(r+step, hi)
		b, v := p.raw[:(end-r)*raw], p.values[:(end-r)*cols]
		if err := s.from.Src.ReadRows(b, r, end); err != nil {
			return err
		}
		s.from.Codec.Decode(v, b)
		if err := s.finite(v, r); err != nil {
			return err
		}
		for i := r; i < end; i++ {
			row, out := v[(i-r)*cols:(i-r+1)*cols], dst[(i-lo)*s.rb:(i-lo+1)*s.rb]
			s.encode.row(out, row, s.encode.importance(i))
			if i%s.step == 0 {
				s.measure(i, row, out, p.back[:cols])
			}
		}
	}
	return nil
}

// grown returns a slice of n values that reuses v's memory where it is enough.
func grown[T any](v []T, n int) []T {
	if cap(v) < n {
		return make([]T, n)
	}
	return v[:n]
}

// finite refuses values that no format holds.
func (s *streamed) finite(v []float32, row int) error {
	if sum := simd.SumSquares(v); sum-sum == 0 {
		return nil
	}
	for i, x := range v { // or squares are too large to be added
		if x-x != 0 {
			return tensor.Errorf(model.ErrInvalid, s.file, fmt.Sprintf("tensor %q", s.name), "value %d is %v: weights must be finite", row*s.from.Cols()+i, x)
		}
	}
	return nil
}

// measure takes a row into the error.
func (s *streamed) measure(row int, v []float32, data []byte, back []float32) {
	s.to.Decode(back, data)
	var energy, lost float64
	importance := s.encode.importance(row)
	for j, x := range v {
		weight := 1.0
		if importance != nil {
			weight = float64(importance[j])
		}
		d := float64(x) - float64(back[j])
		energy += weight * float64(x) * float64(x)
		lost += weight * d * d
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.energy[row/s.step], s.lost[row/s.step] = energy, lost
}

// error returns the relative squared error on the rows that were measured.
func (s *streamed) error() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var energy, lost float64
	for i, e := range s.energy {
		energy += e
		lost += s.lost[i]
	}
	if energy == 0 {
		return 0
	}
	return lost / energy
}

// Complete fills in what is known only once the model has been written: the errors of streamed matrices, measured on
// some of their rows.
func (r *Report) Complete() {
	for i := range r.Tensors {
		for _, s := range r.streams {
			if s.name == r.Tensors[i].Name {
				r.Tensors[i].Error = s.error()
			}
		}
	}
}

// streamAll makes the tensors of all weights that are quantized.
func (w *work) streamAll(ctx context.Context, choices []Choice) error {
	names := w.m.GGUFNames()
	for _, c := range choices {
		if c.Codec == nil {
			continue
		}
		p, err := w.o.Imatrix.Point(names[c.Weight], w.m.Tensor(c.Weight).Cols())
		if err == nil {
			err = w.stream(c.Weight, p)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
