package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/internal/container"
	"github.com/parelm/pare/model/tensor"
)

// Info says what a tensor of a new file will be.
type Info struct {
	Name  string // at most 63 bytes: ggml has no room for more
	Codec codec.Codec
	Shape []int // outermost first, one to four dimensions; a scalar is written as one value
}

// Writer writes one version 3 file. The head is written at once; rows follow in any order, from several goroutines.
type Writer struct {
	rows *container.RowWriter
	size int64
}

// NewWriter writes the head of a file with the given tensors and metadata to w and returns a Writer for the tensors'
// rows. Pairs and tensors keep the given order, tensor data is aligned as general.alignment says, 32 by default.
// The bytes depend on the arguments alone.
//
// It is an error when a name is bad or occurs twice, when a value is of no type of the format, when a codec is no ggml
// type, or when the head would be refused by a reader.
func NewWriter(w io.WriterAt, infos []Info, metadata *Metadata) (*Writer, error) {
	if metadata == nil {
		metadata = &Metadata{}
	}
	align := int64(32)
	if v, ok := metadata.Get("general.alignment"); ok {
		a, ok := v.(uint32)
		if !ok {
			return nil, fmt.Errorf("key %q is %s, want uint32", "general.alignment", typeName(v))
		}
		if err := checkAlignment(a); err != nil {
			return nil, fmt.Errorf("key %q %w", "general.alignment", err)
		}
		align = int64(a)
	}
	head, err := appendPairs(nil, len(infos), metadata)
	if err != nil {
		return nil, err
	}
	head, places, err := appendInfos(head, infos, align)
	if err != nil {
		return nil, err
	}
	head = append(head, make([]byte, pad(int64(len(head)), align))...)
	out := &Writer{rows: container.NewRowWriter(w), size: int64(len(head))}
	for i, in := range infos {
		t := tensor.Tensor{Name: in.Name, Codec: in.Codec, Shape: in.Shape}
		if err := out.rows.Add(in.Name, t.Rows(), t.RowBytes(), int64(len(head))+places[i].off); err != nil {
			return nil, err
		}
		out.size = int64(len(head)) + places[i].off + places[i].bytes
		if gap := pad(places[i].bytes, align); gap > 0 {
			if _, err := w.WriteAt(make([]byte, gap), out.size); err != nil {
				return nil, err
			}
			out.size += gap
		}
	}
	if _, err := w.WriteAt(head, 0); err != nil {
		return nil, err
	}
	return out, nil
}

// pad returns the bytes from n to the next multiple of align.
func pad(n, align int64) int64 { return (align - n%align) % align }

func appendPairs(b []byte, tensors int, m *Metadata) ([]byte, error) {
	le := binary.LittleEndian
	b = append(b, "GGUF"...)
	b = le.AppendUint32(b, 3)
	b = le.AppendUint64(b, uint64(tensors))
	b = le.AppendUint64(b, uint64(m.Len()))
	if int64(tensors) > limits.GGUFTensors || int64(m.Len()) > limits.GGUFPairs {
		return nil, fmt.Errorf("%d tensors and %d pairs are over the limits of %d and %d", tensors, m.Len(), limits.GGUFTensors, limits.GGUFPairs)
	}
	for key, v := range m.All() {
		if key == "" || int64(len(key)) > limits.GGUFKey || !utf8.ValidString(key) {
			return nil, fmt.Errorf("key %.80q: want 1 to %d bytes of UTF-8", key, limits.GGUFKey)
		}
		b = appendString(b, key)
		id, array, n, ok := typeOf(v)
		if !ok {
			return nil, fmt.Errorf("key %q: %T is no type of the format", key, v)
		}
		if array {
			if int64(n) > limits.GGUFArray {
				return nil, fmt.Errorf("key %q: %d elements are over the limit of %d", key, n, limits.GGUFArray)
			}
			b = le.AppendUint32(b, typeArray)
		}
		b = le.AppendUint32(b, id)
		if array {
			b = le.AppendUint64(b, uint64(n))
		}
		var err error
		if b, err = appendValue(b, v); err != nil {
			return nil, fmt.Errorf("key %q: %w", key, err)
		}
	}
	return b, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return appendStrings(b, v)
	case []string:
		return appendStrings(b, v...)
	case bool:
		return appendBools(b, v), nil
	case []bool:
		return appendBools(b, v...), nil
	}
	return binary.Append(b, binary.LittleEndian, v)
}

func appendStrings(b []byte, list ...string) ([]byte, error) {
	for _, s := range list {
		if int64(len(s)) > limits.GGUFString {
			return nil, fmt.Errorf("a string of %d bytes is over the limit of %d", len(s), limits.GGUFString)
		}
		b = appendString(b, s)
	}
	return b, nil
}

func appendBools(b []byte, list ...bool) []byte {
	for _, v := range list {
		if v {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	return b
}

// place is where a tensor's bytes go, from the beginning of the data.
type place struct{ off, bytes int64 }

// appendInfos appends the tensor descriptions and returns the places.
func appendInfos(b []byte, infos []Info, align int64) ([]byte, []place, error) {
	le := binary.LittleEndian
	places := make([]place, len(infos))
	var next int64
	for i, in := range infos {
		n, err := in.bytes()
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", in.Name, err)
		}
		places[i] = place{next, n}
		if next, err = limits.Sum(next, n, align); err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", in.Name, err)
		}
		next -= align
		next += pad(next, align)
		b = appendString(b, in.Name)
		shape := in.Shape
		if len(shape) == 0 {
			shape = []int{1}
		}
		b = le.AppendUint32(b, uint32(len(shape)))
		for j := range shape {
			b = le.AppendUint64(b, uint64(shape[len(shape)-1-j]))
		}
		b = le.AppendUint32(b, typeIDs[in.Codec.Name()])
		b = le.AppendUint64(b, uint64(places[i].off))
	}
	return b, places, nil
}

// bytes checks the tensor and returns its size.
func (in Info) bytes() (int64, error) {
	if err := container.TensorName(in.Name); err != nil {
		return 0, err
	}
	if int64(len(in.Name)) >= limits.GGUFName {
		return 0, fmt.Errorf("the name has %d bytes, ggml has room for %d", len(in.Name), limits.GGUFName-1)
	}
	if in.Codec == nil {
		return 0, errors.New("no codec")
	}
	if _, ok := typeIDs[in.Codec.Name()]; !ok {
		return 0, fmt.Errorf("the format has no type for %s", in.Codec.Name())
	}
	if int64(len(in.Shape)) > limits.GGUFDims {
		return 0, fmt.Errorf("%d dimensions are over the limit of %d", len(in.Shape), limits.GGUFDims)
	}
	for _, d := range in.Shape {
		if d < 1 {
			return 0, fmt.Errorf("shape %v has a dimension below 1", in.Shape)
		}
	}
	t := tensor.Tensor{Name: in.Name, Codec: in.Codec, Shape: in.Shape}
	n, err := size(&t)
	if err == nil && n > math.MaxInt {
		err = fmt.Errorf("%d bytes do not fit this machine's memory", n)
	}
	return n, err
}

// WriteRows writes whole encoded rows of the tensor called name, from the given row on. Each row is written once;
// several goroutines may write at the same time.
func (w *Writer) WriteRows(name string, row int, data []byte) error {
	return w.rows.WriteRows(name, row, data)
}

// Size returns the size of the whole file in bytes.
func (w *Writer) Size() int64 { return w.size }

// Finish returns an error unless every row was written. It does not close or sync anything.
func (w *Writer) Finish() error { return w.rows.Finish() }
