package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// parser reads the head of a file front to back. The first error sticks; after it everything reads as zero.
type parser struct {
	r    io.ReaderAt
	file string // for messages
	size int64  // of the file
	pos  int64  // of the next byte
	buf  []byte // bytes of the file from pos on
	err  error

	// What is being read, for messages: a fixed part of the head, or the name of a key or tensor, or its number while the
	// name is not known. Formatted only when something is wrong.
	what, name string
	number     int64
}

const window = 1 << 18

// left returns the number of bytes not yet read.
func (p *parser) left() int64 { return p.size - p.pos }

// at says what is read next.
func (p *parser) at(what, name string, number int64) { p.what, p.name, p.number = what, name, number }

func (p *parser) fail(class error, format string, args ...any) {
	if p.err != nil {
		return
	}
	field := p.what
	if p.name != "" {
		field = fmt.Sprintf("%s %.80q", p.what, p.name)
	} else if p.number >= 0 {
		field = fmt.Sprintf("%s %d", p.what, p.number)
	}
	p.err = tensor.Errorf(class, p.file, field, format, args...)
}

// bytes returns the next n bytes, which stay valid until the next call. n is at most window.
func (p *parser) bytes(n int) []byte {
	if p.err == nil && int64(n) > p.left() {
		p.fail(tensor.ErrCorrupt, "ends at byte %d of %d, %d more are needed", p.size, p.size, int64(n)-p.left())
	}
	if p.err == nil && n > len(p.buf) {
		p.fill()
	}
	if p.err != nil {
		return make([]byte, n)
	}
	b := p.buf[:n]
	p.buf = p.buf[n:]
	p.pos += int64(n)
	return b
}

// fill reads the window that begins at pos.
func (p *parser) fill() {
	b := make([]byte, min(window, p.left()))
	if _, err := p.r.ReadAt(b, p.pos); err != nil {
		p.fail(tensor.ErrCorrupt, "reading at byte %d of %d: %v", p.pos, p.size, err)
		return
	}
	p.buf = b
}

func (p *parser) u8() uint8   { return p.bytes(1)[0] }
func (p *parser) u16() uint16 { return binary.LittleEndian.Uint16(p.bytes(2)) }
func (p *parser) u32() uint32 { return binary.LittleEndian.Uint32(p.bytes(4)) }
func (p *parser) u64() uint64 { return binary.LittleEndian.Uint64(p.bytes(8)) }

// string reads a length and as many bytes, at most limit.
func (p *parser) string(limit int64) string {
	n := p.u64()
	switch {
	case p.err != nil:
		return ""
	case n > uint64(limit):
		p.fail(tensor.ErrTooLarge, "string of %d bytes, the limit is %d", n, limit)
		return ""
	case n > uint64(p.left()):
		p.fail(tensor.ErrCorrupt, "string of %d bytes, the file has %d left", n, p.left())
		return ""
	case n <= window:
		return string(p.bytes(int(n)))
	}
	b := make([]byte, n)
	for done := 0; done < len(b) && p.err == nil; {
		done += copy(b[done:], p.bytes(min(window, len(b)-done)))
	}
	return string(b)
}

// header is what the head of a file says.
type header struct {
	meta    Metadata
	entries []entry
	byName  map[string]int32
	data    int64 // where tensor data begins
	tensors []*tensor.Tensor
}

// entry describes one tensor, before its place is known to be right.
type entry struct {
	t   tensor.Tensor
	off int64 // from the beginning of the data
}

// parse reads the head of a file: header, pairs, tensor descriptions.
func parse(r io.ReaderAt, file string, size int64) (*header, error) {
	p := &parser{r: r, file: file, size: size}
	h := &header{}
	h.meta.file = file
	tensors, pairs := p.counts()
	p.pairs(&h.meta, pairs)
	align := p.alignment(&h.meta)
	p.tensors(h, tensors, align)
	if p.err == nil {
		h.data = (p.pos + align - 1) / align * align
		p.place(h)
	}
	return h, p.err
}

// counts reads magic, version and the two counts.
func (p *parser) counts() (tensors, pairs int64) {
	p.at("magic", "", -1)
	p.magic()
	p.at("version", "", -1)
	switch v := p.u32(); {
	case p.err != nil:
	case v&0xffff == 0 && v != 0:
		p.fail(tensor.ErrUnsupported, "is %#x: a big-endian file; convert it to little endian", v)
	case v == 1:
		p.fail(tensor.ErrUnsupported, "is 1, the first published one; convert the model again (versions 2 and 3 are read)")
	case v < 2 || v > 3:
		p.fail(tensor.ErrUnsupported, "is %d, versions 2 and 3 are read", v)
	}
	// The shortest description of a tensor and the shortest pair bound what the counts can be.
	tensors = p.count("tensor count", limits.GGUFTensors, 8+1+4+8+4+8)
	pairs = p.count("metadata count", limits.GGUFPairs, 8+1+4+1)
	return tensors, pairs
}

func (p *parser) magic() {
	m := string(p.bytes(4))
	switch {
	case p.err != nil || m == "GGUF":
		return
	case m == "lmgg" || m == "tjgg" || m == "fmgg" || m == "algg":
		p.fail(tensor.ErrUnsupported, "is that of a ggml file from before GGUF; convert the model again")
	case m == "vers":
		p.fail(tensor.ErrUnsupported, "is that of a git-lfs pointer: fetch the weights with `git lfs pull`")
	case m == "PK\x03\x04":
		p.fail(tensor.ErrUnsupported, "is that of a zip archive, perhaps a PyTorch checkpoint under a wrong name")
	default:
		p.fail(tensor.ErrCorrupt, "is %q, want \"GGUF\"", m)
	}
}

// count reads a number of things of which each takes at least least bytes.
func (p *parser) count(field string, limit, least int64) int64 {
	p.at(field, "", -1)
	n := p.u64()
	switch {
	case p.err != nil:
		return 0
	case n > uint64(limit):
		p.fail(tensor.ErrTooLarge, "%d, the limit is %d", n, limit)
		return 0
	case int64(n) > p.left()/least:
		p.fail(tensor.ErrCorrupt, "%d, but the %d bytes left hold no more than %d", n, p.left(), p.left()/least)
		return 0
	}
	return int64(n)
}

func (p *parser) pairs(m *Metadata, n int64) {
	m.pairs = make([]pair, 0, n)
	m.index = make(map[string]int, n)
	for i := int64(0); i < n && p.err == nil; i++ {
		p.at("key", "", i)
		key := p.string(limits.GGUFKey)
		p.at("key", key, i)
		switch {
		case p.err != nil:
			return
		case key == "":
			p.fail(tensor.ErrCorrupt, "is empty")
		case !utf8.ValidString(key):
			p.fail(tensor.ErrCorrupt, "is not UTF-8")
		case m.Has(key):
			p.fail(tensor.ErrCorrupt, "occurs twice")
		}
		if v := p.value(); p.err == nil {
			m.Set(key, v)
		}
	}
}

func (p *parser) value() any {
	id := p.u32()
	if id != typeArray {
		return p.scalar(id)
	}
	id = p.u32()
	n := p.u64()
	switch {
	case p.err != nil:
	case id == typeArray:
		p.fail(tensor.ErrUnsupported, "is an array of arrays")
	case id >= uint32(len(typeSizes)):
		p.fail(tensor.ErrUnsupported, "has elements of unknown type %d", id)
	case n > uint64(limits.GGUFArray):
		p.fail(tensor.ErrTooLarge, "array of %d elements, the limit is %d", n, limits.GGUFArray)
	case int64(n) > p.left()/typeSizes[id]:
		p.fail(tensor.ErrCorrupt, "array of %d elements of at least %d bytes, the file has %d bytes left", n, typeSizes[id], p.left())
	}
	if p.err != nil {
		return nil
	}
	return p.array(id, int(n))
}

func (p *parser) scalar(id uint32) any {
	switch id {
	case typeUint8:
		return p.u8()
	case typeInt8:
		return int8(p.u8())
	case typeUint16:
		return p.u16()
	case typeInt16:
		return int16(p.u16())
	case typeUint32:
		return p.u32()
	case typeInt32:
		return int32(p.u32())
	case typeFloat32:
		return math.Float32frombits(p.u32())
	case typeBool:
		return p.bool()
	case typeString:
		return p.text()
	case typeUint64:
		return p.u64()
	case typeInt64:
		return int64(p.u64())
	case typeFloat64:
		return math.Float64frombits(p.u64())
	}
	p.fail(tensor.ErrUnsupported, "has unknown type %d", id)
	return nil
}

func (p *parser) bool() bool {
	b := p.u8()
	if b > 1 {
		p.fail(tensor.ErrCorrupt, "is a bool of value %d", b)
	}
	return b == 1
}

func (p *parser) text() string { return p.string(limits.GGUFString) }

func (p *parser) array(id uint32, n int) any {
	switch id {
	case typeUint8:
		return list(p, n, (*parser).u8)
	case typeInt8:
		return list(p, n, func(p *parser) int8 { return int8(p.u8()) })
	case typeUint16:
		return list(p, n, (*parser).u16)
	case typeInt16:
		return list(p, n, func(p *parser) int16 { return int16(p.u16()) })
	case typeUint32:
		return list(p, n, (*parser).u32)
	case typeInt32:
		return list(p, n, func(p *parser) int32 { return int32(p.u32()) })
	case typeFloat32:
		return list(p, n, func(p *parser) float32 { return math.Float32frombits(p.u32()) })
	case typeBool:
		return list(p, n, (*parser).bool)
	case typeString:
		return list(p, n, (*parser).text)
	case typeUint64:
		return list(p, n, (*parser).u64)
	case typeInt64:
		return list(p, n, func(p *parser) int64 { return int64(p.u64()) })
	default:
		return list(p, n, func(p *parser) float64 { return math.Float64frombits(p.u64()) })
	}
}

// list reads n elements, whose least size was checked against the bytes left.
func list[T any](p *parser, n int, read func(*parser) T) []T {
	out := make([]T, n)
	for i := range out {
		if p.err != nil {
			return nil
		}
		out[i] = read(p)
	}
	return out
}

// alignment returns the alignment of tensor data: general.alignment, 32 by default.
func (p *parser) alignment(m *Metadata) int64 {
	v, ok := m.Get("general.alignment")
	if p.err != nil || !ok {
		return 32
	}
	a, ok := v.(uint32)
	if err := checkAlignment(a); !ok || err != nil {
		if !ok {
			err = fmt.Errorf("is %s, want uint32", typeName(v))
		}
		p.at("key", "general.alignment", 0)
		p.fail(tensor.ErrInvalid, "%v", err)
		return 32
	}
	return int64(a)
}

func checkAlignment(a uint32) error {
	if a < 8 || int64(a) > limits.GGUFAlignment || a&(a-1) != 0 {
		return fmt.Errorf("is %d, want a power of two from 8 to %d", a, limits.GGUFAlignment)
	}
	return nil
}
