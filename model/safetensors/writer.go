package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/internal/container"
	"github.com/parelm/pare/model/tensor"
)

// Info says what a tensor of a new file will be.
type Info struct {
	Name  string
	Codec codec.Codec // a plain element type: f32, bf16, i8 ...
	Shape []int       // outermost first
}

// Writer writes one file. The header is written at once; rows follow in any order, from several goroutines.
type Writer struct {
	rows *container.RowWriter
	size int64
}

// NewWriter writes the header for the given tensors to w and returns a Writer for their rows. The tensors keep the
// given order; the reference library's own order is by falling element size, then by name. metadata becomes the
// header's __metadata__; nil stands for {"format": "pt"}, which Hugging Face readers ask for, an empty map for none.
//
// The bytes depend on the arguments alone. It is an error when a name is bad or occurs twice, when a codec is no type of
// the format, or when the header would be larger than readers accept.
func NewWriter(w io.WriterAt, infos []Info, metadata map[string]string) (*Writer, error) {
	head, offsets, err := buildHeader(infos, metadata)
	if err != nil {
		return nil, err
	}
	out := &Writer{rows: container.NewRowWriter(w)}
	base := int64(len(head))
	for i, in := range infos {
		t := tensor.Tensor{Name: in.Name, Codec: in.Codec, Shape: in.Shape}
		if err := out.rows.Add(in.Name, t.Rows(), t.RowBytes(), base+offsets[i]); err != nil {
			return nil, err
		}
	}
	out.size = base + offsets[len(infos)]
	if _, err := w.WriteAt(head, 0); err != nil {
		return nil, err
	}
	return out, nil
}

// buildHeader returns length and header, padded with spaces to a multiple of eight bytes, and where each tensor begins
// after it; the last offset is the end.
func buildHeader(infos []Info, metadata map[string]string) ([]byte, []int64, error) {
	head := append(make([]byte, 8, 8+128*len(infos)), '{')
	if metadata == nil {
		metadata = map[string]string{"format": "pt"}
	}
	if len(metadata) > 0 {
		head = append(head, `"__metadata__":{`...)
		for i, k := range sortedKeys(metadata) {
			if i > 0 {
				head = append(head, ',')
			}
			head = append(container.AppendString(head, k), ':')
			head = container.AppendString(head, metadata[k])
		}
		head = append(head, "},"...)
	}
	offsets := make([]int64, len(infos)+1)
	for i, in := range infos {
		n, err := in.bytes()
		if err == nil {
			offsets[i+1], err = limits.Sum(offsets[i], n)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", in.Name, err)
		}
		head = append(in.append(head, offsets[i], offsets[i+1]), ',')
	}
	if head[len(head)-1] == ',' {
		head = head[:len(head)-1]
	}
	head = append(head, '}')
	for len(head)%8 != 0 {
		head = append(head, ' ')
	}
	if n := int64(len(head) - 8); n > limits.SafetensorsHeader {
		return nil, nil, fmt.Errorf("a header of %d bytes is over the limit of %d", n, limits.SafetensorsHeader)
	}
	binary.LittleEndian.PutUint64(head, uint64(len(head)-8))
	return head, offsets, nil
}

// append adds "name":{"dtype":...,"shape":[...],"data_offsets":[...]} to head.
func (in Info) append(head []byte, begin, end int64) []byte {
	head = container.AppendString(head, in.Name)
	head = append(head, `:{"dtype":"`...)
	head = append(head, written[in.Codec].name...)
	head = append(head, `","shape":[`...)
	for i, d := range in.Shape {
		if i > 0 {
			head = append(head, ',')
		}
		head = strconv.AppendInt(head, int64(d), 10)
	}
	head = append(head, `],"data_offsets":[`...)
	head = append(strconv.AppendInt(head, begin, 10), ',')
	return append(strconv.AppendInt(head, end, 10), "]}"...)
}

// bytes checks the tensor and returns its size.
func (in Info) bytes() (int64, error) {
	if err := container.TensorName(in.Name); err != nil {
		return 0, err
	}
	if in.Name == "__metadata__" {
		return 0, fmt.Errorf("the name is reserved")
	}
	if in.Codec == nil || written[in.Codec] == nil {
		return 0, fmt.Errorf("the format has no type for %v", codecName(in.Codec))
	}
	if int64(len(in.Shape)) > limits.TensorRank {
		return 0, fmt.Errorf("%d dimensions are over the limit of %d", len(in.Shape), limits.TensorRank)
	}
	t := tensor.Tensor{Name: in.Name, Codec: in.Codec, Shape: in.Shape}
	if err := t.Check(); err != nil {
		return 0, err
	}
	return t.Bytes(), nil
}

func codecName(c codec.Codec) string {
	if c == nil {
		return "no codec"
	}
	return c.Name()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
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
