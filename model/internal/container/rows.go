package container

import (
	"fmt"
	"io"
	"math/bits"
	"sync"
)

// RowWriter writes rows of tensors to their places in a file, in any order and from several goroutines, and knows
// which are missing.
type RowWriter struct {
	w      io.WriterAt
	parts  []part
	byName map[string]int
	mu     sync.Mutex // guards the done bits and err
	err    error      // the first failed write: the file is lost
}

type part struct {
	name      string
	off       int64
	rows, row int      // number of rows, bytes of one
	done      []uint64 // one bit a row
	left      int
}

// NewRowWriter returns a writer without tensors.
func NewRowWriter(w io.WriterAt) *RowWriter { return &RowWriter{w: w, byName: map[string]int{}} }

// Add declares a tensor of rows rows of row bytes each at offset off. A name may be declared once.
func (w *RowWriter) Add(name string, rows, row int, off int64) error {
	if _, dup := w.byName[name]; dup {
		return fmt.Errorf("tensor %q: declared twice", name)
	}
	if row == 0 {
		rows = 0 // nothing to write
	}
	w.byName[name] = len(w.parts)
	w.parts = append(w.parts, part{name, off, rows, row, make([]uint64, (rows+63)/64), rows})
	return nil
}

// WriteRows writes data, which is whole rows of the tensor, from the given row on. Each row is written once.
func (w *RowWriter) WriteRows(name string, row int, data []byte) error {
	i, ok := w.byName[name]
	if !ok {
		return fmt.Errorf("tensor %q was not declared", name)
	}
	p := &w.parts[i]
	if p.row == 0 && len(data) == 0 {
		return nil
	}
	if p.row == 0 || len(data)%p.row != 0 {
		return fmt.Errorf("tensor %q: %d bytes are not whole rows of %d", name, len(data), p.row)
	}
	n := len(data) / p.row
	if row < 0 || row > p.rows-n {
		return fmt.Errorf("tensor %q: rows %d..%d of %d", name, row, row+n, p.rows)
	}
	if err := w.claim(p, row, n); err != nil {
		return err
	}
	if _, err := w.w.WriteAt(data, p.off+int64(row)*int64(p.row)); err != nil {
		err = fmt.Errorf("tensor %q: row %d: %w", name, row, err)
		w.mu.Lock()
		if w.err == nil {
			w.err = err
		}
		w.mu.Unlock()
		return err
	}
	return nil
}

// claim marks rows [row,row+n) as written.
func (w *RowWriter) claim(p *part, row, n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for r := row; r < row+n; {
		word, lo := r/64, r%64
		k := min(64-lo, row+n-r)
		mask := (^uint64(0) >> (64 - k)) << lo
		if p.done[word]&mask != 0 {
			return fmt.Errorf("tensor %q: a row in %d..%d was written before", p.name, row, row+n)
		}
		p.done[word] |= mask
		r += k
	}
	p.left -= n
	return nil
}

// Finish returns the first write error, or an error that names the first row not yet written, if there is one.
func (w *RowWriter) Finish() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	for i := range w.parts {
		p := &w.parts[i]
		if p.left == 0 {
			continue
		}
		for word, b := range p.done {
			if b != ^uint64(0) {
				return fmt.Errorf("tensor %q: row %d was never written (%d of %d rows missing)",
					p.name, word*64+bits.TrailingZeros64(^b), p.left, p.rows)
			}
		}
	}
	return nil
}
