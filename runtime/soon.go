package runtime

import (
	"context"
	"sync"

	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// The first token before all else (Options.Soon): the first step takes its weights from the file, a stretch of rows at a time,
// packs them where they stay in a core's second cache, multiplies and forgets them. It writes nothing to memory, and memory
// that the system must first make room for, clear, or, in a virtual machine, get from its host is what loading waits for.
// The next step packs all weights to keep them. Both multiply with the same kernels, so the bits are the same.

// soonRows is up to how many rows a step is done so: beside more, packing hardly shows.
const soonRows = 64

// soon is the weights that still lie in the file, and the first error of reading them.
type soon struct {
	mu    sync.Mutex
	err   error
	used  bool // by a step
	tiles map[tileShape]*tiles
	round Rounding
}

// tileShape is what scratch matrices of a stretch must agree on.
type tileShape struct {
	format string
	cols   int
}

// tiles is scratch matrices of a stretch, and one of them that nobody fills, to be asked.
type tiles struct {
	shape *simd.Matrix
	pool  sync.Pool
}

func (s *soon) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

// filed is a matrix in its file.
type filed struct {
	w    *model.Weight
	t    *tensor.Tensor
	from *soon
	step int // rows of a stretch
	on   *tiles
}

// filed returns the tensor as a matrix in its file.
func (s *soon) filed(w *model.Weight, t *tensor.Tensor) (*filed, error) {
	f := &filed{w: w, t: t, from: s, step: stretchRows(t)}
	key := tileShape{t.Codec.Name(), t.Cols()}
	if f.on = s.tiles[key]; f.on == nil {
		shape, err := packable(key.format, f.step, key.cols, s.round)
		if err != nil {
			return nil, err
		}
		f.on = &tiles{shape: shape}
		f.on.pool.New = func() any {
			m, err := packable(key.format, f.step, key.cols, s.round)
			if err != nil {
				panic(err) // it has been made once
			}
			return m
		}
		s.tiles[key] = f.on
	}
	return f, nil
}

func (f *filed) Size() (int, int) { return f.t.Rows(), f.t.Cols() }
func (f *filed) Bytes() int64     { return f.t.Bytes() }
func (f *filed) Kernel() string   { return f.on.shape.Kernel() }

// Form implements matrix.
func (f *filed) Form(prompt bool) simd.Form { return f.on.shape.Form(prompt) }

func (f *filed) Row(dst []float32, r int) {
	if err := f.t.ReadFloat32(dst, r, r+1); err != nil {
		f.from.fail(err)
	}
}

// Read implements matrix.
func (f *filed) Read(lo, hi int) { f.each(lo, hi, func(int, []byte) {}, func(int, int) {}) }

// mul is Matrix.Mul, stretch by stretch.
func (f *filed) mul(dst []float32, ld int, a *activations, lo, hi int, add bool) {
	m := f.on.pool.Get().(*simd.Matrix)
	defer f.on.pool.Put(m)
	f.each(lo, hi, func(_ int, data []byte) { m.Pack(0, data) }, func(at, n int) { m.Mul(dst[at-lo:], ld, &a.Acts, 0, n, add) })
}

// each reads rows [lo,hi) a stretch at a time, hands them to pack, and calls done with the stretch's first row and how many it has.
func (f *filed) each(lo, hi int, pack func(row int, data []byte), done func(at, rows int)) {
	for at := lo; at < hi; at += f.step {
		s := stretch{f.w, f.t, pack, at, min(at+f.step, hi)}
		if err := s.read(); err != nil {
			f.from.fail(err)
			return
		}
		done(at, s.hi-s.lo)
	}
}

// Ready packs the weights that Options.Soon left in the file.
func (e *Engine) Ready(ctx context.Context) error {
	if err := e.missed(); err != nil || e.soon == nil {
		return err
	}
	e.soon = nil
	return e.load(ctx, e.Model.Graph.Weights, func(int64) {}) // no progress is shown: text is being written
}

// prepare comes before a step of so many rows: it decides where the step finds its weights.
func (e *Engine) prepare(ctx context.Context, rows int) error {
	if s := e.soon; s != nil && !s.used && rows <= soonRows {
		s.used = true
		return nil
	}
	return e.Ready(ctx)
}

// missed returns what went wrong while a step read its weights.
func (e *Engine) missed() error {
	if e.soon == nil {
		return nil
	}
	return e.soon.err
}
