package gguf

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/internal/container"
	"github.com/parelm/pare/model/tensor"
)

// tensors reads n tensor descriptions.
func (p *parser) tensors(h *header, n, align int64) {
	h.entries = make([]entry, 0, n)
	h.byName = make(map[string]int32, n)
	for i := int64(0); i < n && p.err == nil; i++ {
		p.at("tensor", "", i)
		name := p.string(limits.GGUFName)
		if p.err != nil {
			break
		}
		p.at("tensor", name, i)
		if err := container.TensorName(name); err != nil {
			p.fail(tensor.ErrInvalid, "%v", err)
		}
		if _, dup := h.byName[name]; dup {
			p.fail(tensor.ErrCorrupt, "is described twice")
		}
		h.byName[name] = int32(i)
		h.entries = append(h.entries, p.entry(name, align))
	}
}

// entry reads dimensions, type and offset of one tensor and checks what can be checked without the others.
func (p *parser) entry(name string, align int64) entry {
	shape := p.shape()
	id := p.u32()
	off := p.u64()
	if p.err != nil {
		return entry{}
	}
	c, err := lookup(id)
	if err != nil {
		p.fail(tensor.ErrUnsupported, "%v", err)
		return entry{}
	}
	t := tensor.Tensor{Name: name, Codec: c, Shape: shape}
	n, err := size(&t)
	switch {
	case err != nil:
		p.fail(tensor.ErrCorrupt, "%v", err)
	case n > math.MaxInt:
		p.fail(tensor.ErrTooLarge, "%d bytes do not fit this machine's memory", n)
	case off > math.MaxInt64:
		p.fail(tensor.ErrCorrupt, "offset %d lies outside any file", off)
	case off%uint64(align) != 0:
		p.fail(tensor.ErrCorrupt, "offset %d is not a multiple of the alignment %d", off, align)
	}
	return entry{t, int64(off)}
}

// shape reads the dimensions, innermost first, and returns them outermost first.
func (p *parser) shape() []int {
	rank := p.u32()
	switch {
	case p.err != nil:
		return nil
	case rank == 0:
		p.fail(tensor.ErrCorrupt, "has no dimensions")
		return nil
	case int64(rank) > limits.GGUFDims:
		p.fail(tensor.ErrTooLarge, "has %d dimensions, the limit is %d", rank, limits.GGUFDims)
		return nil
	}
	shape := make([]int, rank)
	for i := range shape {
		d := p.u64()
		switch {
		case p.err != nil:
			return nil
		case d == 0:
			p.fail(tensor.ErrCorrupt, "dimension %d is 0", i)
		case d > math.MaxInt:
			p.fail(tensor.ErrCorrupt, "dimension %d is %d, more than any file holds", i, d)
		}
		shape[len(shape)-1-i] = int(d)
	}
	return shape
}

// size returns the bytes of t without trusting its shape.
func size(t *tensor.Tensor) (int64, error) {
	values, bytes := t.Codec.Block()
	cols := int64(t.Cols())
	if values == 0 || cols%int64(values) != 0 {
		_, err := codec.RowBytes(t.Codec, t.Cols())
		return 0, err
	}
	factors := []int64{cols / int64(values), int64(bytes)}
	for _, d := range t.Shape[:len(t.Shape)-1] {
		factors = append(factors, int64(d))
	}
	n, err := limits.Product(factors...)
	if err != nil {
		return 0, fmt.Errorf("shape %v of %s: %w", t.Shape, t.Codec.Name(), err)
	}
	return n, t.Check() // Check also bounds the number of values
}

// place checks that the tensors lie inside the file without overlap, and makes them readable.
func (p *parser) place(h *header) {
	order := make([]int32, len(h.entries))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(h.entries[a].off, h.entries[b].off) })
	var end int64 // of the tensor before, in the data
	for i, j := range order {
		e := &h.entries[j]
		p.at("tensor", e.t.Name, 0)
		next, err := limits.Sum(e.off, e.t.Bytes())
		room := p.size - h.data
		switch {
		case err != nil:
			p.fail(tensor.ErrCorrupt, "offset %d: %v", e.off, err)
		case e.off < end:
			p.fail(tensor.ErrCorrupt, "begins at %d, inside tensor %q that ends at %d", e.off, h.entries[order[i-1]].t.Name, end)
		case next > room:
			p.fail(tensor.ErrCorrupt, "needs %d bytes at %d, the file has %d bytes of tensor data", e.t.Bytes(), e.off, max(room, 0))
		}
		if p.err != nil {
			return
		}
		end = next
	}
	h.tensors = make([]*tensor.Tensor, len(h.entries))
	for i := range h.entries {
		e := &h.entries[i]
		h.tensors[i] = tensor.FromFile(e.t.Name, e.t.Codec, e.t.Shape, p.r, h.data+e.off)
	}
	h.entries = nil
}
