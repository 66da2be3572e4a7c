package safetensors

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/internal/container"
	"github.com/parelm/pare/model/tensor"
)

// entry is one tensor of a header.
type entry struct {
	name       string
	dtype      *dtype
	shape      []int
	begin, end int64
}

// field names an entry in messages.
func (e *entry) field() string { return fmt.Sprintf("tensor %.60q", e.name) }

// header is a parsed header: the entries in the order of their bytes, and the metadata.
type header struct {
	entries []entry
	byName  map[string]int32 // index of each entry
	meta    map[string]string
}

// parseHeader checks the header of a file whose tensors take dataLen bytes.
func parseHeader(data []byte, file string, dataLen int64) (*header, error) {
	n := min(int64(bytes.Count(data, []byte(`"data_offsets"`))), limits.SafetensorsTensors)
	h := &header{entries: make([]entry, 0, n), byName: make(map[string]int32, n)}
	p := &parser{file: file, header: h}
	err := p.parse(data)
	var fe *tensor.FileError
	if err != nil && !errors.As(err, &fe) {
		err = tensor.Errorf(tensor.ErrCorrupt, file, "header", "%v", err)
	}
	if err == nil {
		err = h.checkRanges(file, dataLen)
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

type parser struct {
	file   string
	header *header
	dims   []int64 // shape of the entry being read
	*container.Scanner
}

func (p *parser) errorf(class error, field, format string, args ...any) error {
	return tensor.Errorf(class, p.file, field, format, args...)
}

func (p *parser) parse(data []byte) (err error) {
	if p.Scanner, err = container.NewScanner(data); err != nil {
		return err
	}
	if len(data) == 0 || data[0] != '{' { // the format wants it as the first byte, without space or byte order mark
		return errors.New("does not begin with '{'")
	}
	err = p.Object(func(key string) error {
		if key == "__metadata__" {
			return p.metadata()
		}
		if int64(len(p.header.entries)) >= limits.SafetensorsTensors {
			return p.errorf(tensor.ErrTooLarge, "header", "more than %d tensors", limits.SafetensorsTensors)
		}
		e := entry{name: key}
		if err := container.TensorName(key); err != nil {
			return p.errorf(nameClass(key), fmt.Sprintf("tensor %.60q", key), "%v", err)
		}
		if err := p.entry(&e); err != nil {
			return err
		}
		p.header.byName[key] = int32(len(p.header.entries))
		p.header.entries = append(p.header.entries, e)
		if len(p.header.byName) < len(p.header.entries) {
			return p.errorf(tensor.ErrCorrupt, e.field(), "named twice in the header")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.End()
}

// nameClass returns the class of error that a bad tensor name is.
func nameClass(name string) error {
	if int64(len(name)) > limits.TensorName {
		return tensor.ErrTooLarge
	}
	return tensor.ErrInvalid
}

func (p *parser) metadata() error {
	if p.header.meta != nil {
		return p.errorf(tensor.ErrCorrupt, "__metadata__", "named twice in the header")
	}
	p.header.meta = map[string]string{}
	return p.Object(func(key string) error {
		field := fmt.Sprintf("__metadata__ %.60q", key)
		if _, dup := p.header.meta[key]; dup {
			return p.errorf(tensor.ErrCorrupt, field, "named twice")
		}
		if p.Peek() != '"' {
			return p.errorf(tensor.ErrCorrupt, field, "is not a string")
		}
		v, err := p.String()
		p.header.meta[key] = v
		return err
	})
}

// entry reads {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]} in any order of keys.
func (p *parser) entry(e *entry) error {
	keys := [...]string{"dtype", "shape", "data_offsets"}
	var have [len(keys)]bool
	err := p.Object(func(key string) error {
		i := slices.Index(keys[:], key)
		if i < 0 {
			return p.errorf(tensor.ErrUnsupported, e.field(), "unknown key %.60q", key)
		}
		if have[i] {
			return p.errorf(tensor.ErrCorrupt, e.field(), "key %q twice", key)
		}
		have[i] = true
		var err error
		switch key {
		case "dtype":
			err = p.dtype(e)
		case "shape":
			err = p.shape(e)
		case "data_offsets":
			err = p.offsets(e)
		}
		return p.in(e, key, err)
	})
	if err != nil {
		return p.in(e, "", err)
	}
	if i := slices.Index(have[:], false); i >= 0 {
		return p.errorf(tensor.ErrCorrupt, e.field(), "has no %s", keys[i])
	}
	return p.size(e)
}

func (p *parser) dtype(e *entry) error {
	name, err := p.String()
	if err != nil {
		return err
	}
	d, ok := read[name]
	if !ok {
		return p.errorf(tensor.ErrUnsupported, e.field(), "unknown dtype %.20q", name)
	}
	e.dtype = d
	return nil
}

// in adds the tensor's name and the key to an error that has none.
func (p *parser) in(e *entry, key string, err error) error {
	var fe *tensor.FileError
	if err == nil || errors.As(err, &fe) {
		return err
	}
	if key != "" {
		key += ": "
	}
	return p.errorf(tensor.ErrCorrupt, e.field(), "%s%v", key, err)
}

func (p *parser) shape(e *entry) error {
	p.dims = p.dims[:0]
	return p.Array(func() error {
		d, err := p.Uint()
		if err != nil {
			return err
		}
		if int64(len(p.dims)) >= limits.TensorRank {
			return p.errorf(tensor.ErrTooLarge, e.field(), "shape has more than %d dimensions", limits.TensorRank)
		}
		p.dims = append(p.dims, d)
		return nil
	})
}

func (p *parser) offsets(e *entry) error {
	n := 0
	err := p.Array(func() error {
		v, err := p.Uint()
		if err != nil {
			return err
		}
		switch n {
		case 0:
			e.begin = v
		case 1:
			e.end = v
		}
		n++
		return nil
	})
	if err == nil && n != 2 {
		err = fmt.Errorf("has %d numbers, want 2", n)
	}
	return err
}

// size checks that type, shape and offsets agree, and sets the shape.
func (p *parser) size(e *entry) error {
	d := e.dtype
	var buf [16]int64
	bits, err := limits.Product(append(append(buf[:0], d.bits), p.dims...)...)
	switch {
	case e.begin > e.end:
		return p.errorf(tensor.ErrCorrupt, e.field(), "data_offsets [%d,%d] are reversed", e.begin, e.end)
	case err != nil:
		return p.errorf(tensor.ErrCorrupt, e.field(), "shape %v of %s: %v", p.dims, d.name, err)
	case bits%8 != 0:
		return p.errorf(tensor.ErrCorrupt, e.field(), "shape %v of %s takes %d bits, not whole bytes", p.dims, d.name, bits)
	case bits/8 != e.end-e.begin:
		return p.errorf(tensor.ErrCorrupt, e.field(), "shape %v of %s takes %d bytes, data_offsets give %d", p.dims, d.name, bits/8, e.end-e.begin)
	case d.codec == nil:
		return p.errorf(tensor.ErrUnsupported, e.field(), "dtype %s is not supported", d.name)
	case bits/8 > math.MaxInt:
		return p.errorf(tensor.ErrTooLarge, e.field(), "%d bytes do not fit this machine's memory", bits/8)
	}
	e.shape = make([]int, len(p.dims))
	for i, n := range p.dims {
		if n > math.MaxInt {
			return p.errorf(tensor.ErrTooLarge, e.field(), "dimension %d does not fit this machine's integers", n)
		}
		e.shape[i] = int(n)
	}
	return nil
}

// checkRanges sorts the entries by their place and makes sure that they cover the data exactly.
func (h *header) checkRanges(file string, dataLen int64) error {
	// A tensor without bytes shares its place with the next one. Writers name it first; the stable sort keeps that
	// order, and any other is refused below, so that no two readings of one header differ.
	byPlace := func(a, b entry) int { return cmp.Compare(a.begin, b.begin) }
	if !slices.IsSortedFunc(h.entries, byPlace) {
		slices.SortStableFunc(h.entries, byPlace)
		for i := range h.entries {
			h.byName[h.entries[i].name] = int32(i)
		}
	}
	var next int64
	for i := range h.entries {
		e := &h.entries[i]
		switch {
		case e.end > dataLen:
			return tensor.Errorf(tensor.ErrCorrupt, file, e.field(), "ends at %d, the file has %d bytes of data", e.end, dataLen)
		case e.begin < next:
			return tensor.Errorf(tensor.ErrCorrupt, file, e.field(), "begins at %d, inside the bytes of tensor %q that end at %d", e.begin, h.entries[i-1].name, next)
		case e.begin > next:
			return tensor.Errorf(tensor.ErrCorrupt, file, e.field(), "begins at %d, leaving a hole from %d", e.begin, next)
		}
		next = e.end
	}
	if next != dataLen {
		return tensor.Errorf(tensor.ErrCorrupt, file, "header", "%d bytes follow the last tensor, which ends at %d", dataLen-next, next)
	}
	return nil
}
