package runtime

import (
	"context"
	"fmt"
	"sync"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// Loading: all matrices are cut into stretches of rows, which the threads read and pack in the order of the file's weights. What is
// read stays in a core's second cache until it is packed, so the memory sees each byte twice: read from the page cache and
// stored as a tile.

// packBytes is how much is read and packed at once.
const packBytes = 1 << 18

// stored holds buffers for that: garbage would let the heap grow to twice the weights while they are loaded.
var stored = sync.Pool{New: func() any { return new([]byte) }}

// stretch is rows [lo,hi) of a tensor on their way into a matrix.
type stretch struct {
	w      *model.Weight
	t      *tensor.Tensor
	pack   func(row int, data []byte)
	lo, hi int
}

// load reads weights that are not there yet: matrices in their own format, vectors as float32. done is told of every piece, from any
// thread.
func (e *Engine) load(ctx context.Context, ws []*model.Weight, done func(bytes int64)) error {
	matrices := map[*model.Weight]matrix{}
	var todo []stretch
	for _, w := range ws {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, there := e.mats[w].(*filed); there && e.soon == nil {
			delete(e.mats, w)
		}
		if e.mats[w] != nil || e.vecs[w] != nil || matrices[w] != nil {
			continue
		}
		t := e.Model.Tensor(w)
		if w.Role == model.RoleVector {
			v, err := t.Float32()
			if err == nil {
				err = t.CheckFinite()
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", w.Name, err)
			}
			e.vecs[w] = v
			done(t.Bytes())
			continue
		}
		t, err := e.rounder.matrix(w, t)
		if err != nil {
			return err
		}
		if e.soon != nil && len(w.Dims) == 2 && simd.Packable(t.Codec.Name()) {
			if e.mats[w], err = e.soon.filed(w, t); err != nil {
				return fmt.Errorf("read %s: %w", w.Name, err)
			}
			continue
		}
		m, pack, err := newMatrix(t, e.rounding)
		if err != nil {
			return fmt.Errorf("read %s: %w", w.Name, err)
		}
		matrices[w] = m
		rows, step := t.Rows(), stretchRows(t)
		for lo := 0; lo < rows; lo += step {
			todo = append(todo, stretch{w, t, pack, lo, min(lo+step, rows)})
		}
	}
	errs := make([]error, len(todo))
	par.For(len(todo), 1, func(i, _ int) {
		if errs[i] = ctx.Err(); errs[i] == nil {
			errs[i] = todo[i].read()
			done(int64((todo[i].hi - todo[i].lo) * e.Model.Tensor(todo[i].w).RowBytes()))
		}
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	for w, m := range matrices {
		e.mats[w] = m
	}
	return nil
}

// stretchRows is how many rows of a tensor are read and packed at once.
func stretchRows(t *tensor.Tensor) int { return max(16, packBytes/max(t.RowBytes(), 1)&^15) }

// read reads and packs the rows.
func (s *stretch) read() error {
	buf := stored.Get().(*[]byte)
	defer stored.Put(buf)
	n := (s.hi - s.lo) * s.t.RowBytes()
	if cap(*buf) < n {
		*buf = make([]byte, n)
	}
	data := (*buf)[:n]
	err := s.t.Src.ReadRows(data, s.lo, s.hi)
	if err == nil {
		err = s.t.CheckRaw(s.lo, data)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", s.w.Name, err)
	}
	s.pack(s.lo, data)
	return nil
}

// newMatrix makes room for a tensor and returns what puts rows there. Different rows may be put at the same time. Stacked experts
// become one matrix of experts x rows.
func newMatrix(t *tensor.Tensor, r Rounding) (m matrix, pack func(row int, data []byte), err error) {
	if simd.Packable(t.Codec.Name()) {
		m, err := packable(t.Codec.Name(), t.Rows(), t.Cols(), r)
		if err != nil {
			return nil, nil, err
		}
		return m, m.Pack, nil
	}
	rows, rb := t.Rows(), t.RowBytes()
	c := &coded{data: make([]byte, rows*rb), codec: t.Codec, rows: rows, cols: t.Cols(), rb: rb}
	return c, func(row int, data []byte) { copy(c.data[row*rb:], data) }, nil
}

// packable makes room for a matrix in a format that kernels multiply, whose inputs are rounded as r says.
func packable(format string, rows, cols int, r Rounding) (*simd.Matrix, error) {
	m, err := simd.NewMatrix(format, rows, cols)
	if err == nil && r == RoundFast {
		m.RoundFast()
	}
	return m, err
}
