package calib

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/gguf"
	"github.com/parelm/pare/model/tensor"
)

// The two file formats of importance matrices.
//
// GGUF: general.type is "imatrix"; imatrix.datasets, imatrix.chunk_count and imatrix.chunk_size say what was read; a matrix
// NAME has NAME.in_sum2 [matrices, width] and NAME.counts [matrices, 1], both float32, raw sums and counts of tokens.
//
// Legacy (imatrix.dat), little endian: the number of entries; of each the length of its name, the name, a count of chunks,
// the number of values, and the values as float32: mean squares times chunks. Then the chunks, the length of the text's
// name and that name. Numbers are int32.

const (
	sumSuffix   = ".in_sum2"
	countSuffix = ".counts"
)

// OpenImatrix reads an importance matrix in either format.
func OpenImatrix(path string) (*Imatrix, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil {
		return nil, tensor.Errorf(tensor.ErrCorrupt, path, "", "is too short for an importance matrix")
	}
	if string(magic) == "GGUF" {
		return openGGUF(path)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limits.Imatrix {
		return nil, tensor.Errorf(tensor.ErrTooLarge, path, "", "is %d bytes; an importance matrix has at most %d", info.Size(), limits.Imatrix)
	}
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, err
	}
	return parseLegacy(path, data)
}

func openGGUF(path string) (*Imatrix, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	meta := f.Metadata()
	if kind, _ := meta.String("general.type"); kind != "imatrix" {
		return nil, tensor.Errorf(tensor.ErrInvalid, path, `key "general.type"`, "is %q: not an importance matrix", kind)
	}
	x := &Imatrix{entries: map[string]*sums{}}
	if x.Datasets, err = meta.Strings("imatrix.datasets"); err != nil {
		return nil, err
	}
	for key, v := range map[string]*int{"imatrix.chunk_count": &x.Chunks, "imatrix.chunk_size": &x.ChunkSize} {
		n, err := meta.Uint(key)
		if err != nil {
			return nil, err
		}
		*v = int(min(n, math.MaxInt32))
	}
	for _, t := range f.Tensors() {
		name, ok := strings.CutSuffix(t.Name, sumSuffix)
		if !ok {
			continue
		}
		c, ok := f.Tensor(name + countSuffix)
		if !ok {
			return nil, tensor.Errorf(tensor.ErrCorrupt, path, fmt.Sprintf("tensor %q", t.Name), "has no counts beside it")
		}
		s := &sums{}
		if s.square, err = t.Float32(); err == nil {
			s.count, err = c.Float32()
		}
		if err != nil {
			return nil, err
		}
		if err := s.check(); err != nil {
			return nil, tensor.Errorf(tensor.ErrCorrupt, path, fmt.Sprintf("tensor %q", t.Name), "%v", err)
		}
		x.entries[name] = s
	}
	if len(x.entries) == 0 {
		return nil, tensor.Errorf(tensor.ErrInvalid, path, "", "holds no importances")
	}
	return x, nil
}

// check returns an error unless the sums can be importances.
func (s *sums) check() error {
	if len(s.count) == 0 || len(s.square) == 0 || len(s.square)%len(s.count) != 0 {
		return fmt.Errorf("%d values do not make %d matrices", len(s.square), len(s.count))
	}
	for i, v := range s.square {
		if !(v >= 0) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("value %d is %v", i, v)
		}
	}
	for i, v := range s.count {
		if !(v >= 0) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("count %d is %v", i, v)
		}
	}
	return nil
}

// parseLegacy reads the format without GGUF.
func parseLegacy(path string, data []byte) (*Imatrix, error) {
	short := func(what string) error {
		return tensor.Errorf(tensor.ErrCorrupt, path, "", "ends inside %s, or is no importance matrix", what)
	}
	number := func() (int, bool) {
		if len(data) < 4 {
			return 0, false
		}
		n := int32(binary.LittleEndian.Uint32(data))
		data = data[4:]
		return int(n), n >= 0
	}
	text := func() (string, bool) {
		n, ok := number()
		if !ok || n > len(data) {
			return "", false
		}
		s := string(data[:n])
		data = data[n:]
		return s, true
	}
	x := &Imatrix{entries: map[string]*sums{}}
	n, ok := number()
	if !ok || n == 0 {
		return nil, short("the number of entries")
	}
	for i := range n {
		name, ok1 := text()
		calls, ok2 := number()
		values, ok3 := number()
		if !ok1 || !ok2 || !ok3 || values > len(data)/4 {
			return nil, short(fmt.Sprintf("entry %d of %d", i, n))
		}
		s := &sums{square: make([]float32, values), count: []float32{float32(max(calls, 1))}}
		for j := range s.square {
			s.square[j] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*j:]))
		}
		data = data[4*values:]
		if err := s.check(); err != nil {
			return nil, tensor.Errorf(tensor.ErrCorrupt, path, fmt.Sprintf("entry %q", name), "%v", err)
		}
		x.entries[name] = s
	}
	if chunks, ok := number(); ok { // older files end here
		x.Chunks = chunks
		if name, ok := text(); ok && name != "" {
			x.Datasets = []string{name}
		}
	}
	return x, nil
}

// WriteGGUF writes the format of GGUF files.
func (x *Imatrix) WriteGGUF(w io.WriterAt) error {
	meta := &gguf.Metadata{}
	meta.Set("general.type", "imatrix")
	meta.Set("imatrix.datasets", append([]string{}, x.Datasets...))
	meta.Set("imatrix.chunk_count", uint32(x.Chunks))
	meta.Set("imatrix.chunk_size", uint32(x.chunkSize()))
	f32, err := codec.Lookup("f32")
	if err != nil {
		return err
	}
	var ts []*tensor.Tensor
	var infos []gguf.Info
	for _, name := range x.Names() {
		s := x.entries[name]
		n := len(s.count)
		count, square := slices.Clone(s.count), s.square
		if x.ChunkSize == 0 { // chunks of a legacy file become tokens
			square = slices.Clone(square)
			for i := range square {
				square[i] *= legacyChunk
			}
			for i := range count {
				count[i] *= legacyChunk
			}
		}
		for _, t := range []*tensor.Tensor{tensor.FromFloat32(name+sumSuffix, []int{n, len(square) / n}, square),
			tensor.FromFloat32(name+countSuffix, []int{n, 1}, count)} {
			ts = append(ts, t)
			infos = append(infos, gguf.Info{Name: t.Name, Codec: f32, Shape: t.Shape})
		}
	}
	out, err := gguf.NewWriter(w, infos, meta)
	if err != nil {
		return err
	}
	for _, t := range ts {
		data, err := t.ReadRaw(0, t.Rows())
		if err != nil {
			return err
		}
		if err := out.WriteRows(t.Name, 0, data); err != nil {
			return err
		}
	}
	return out.Finish()
}

func (x *Imatrix) chunkSize() int {
	if x.ChunkSize == 0 {
		return legacyChunk
	}
	return x.ChunkSize
}

// WriteLegacy writes the format of imatrix.dat.
func (x *Imatrix) WriteLegacy(w io.Writer) error {
	var b bytes.Buffer
	number := func(n int) { b.Write(binary.LittleEndian.AppendUint32(nil, uint32(int32(n)))) }
	number(len(x.entries))
	for _, name := range x.Names() {
		s := x.entries[name]
		calls := 0
		for _, c := range s.count {
			calls = max(calls, (int(c)+x.chunkSize()-1)/x.chunkSize())
		}
		if x.ChunkSize == 0 {
			calls = int(s.count[0])
		}
		number(len(name))
		b.WriteString(name)
		number(calls)
		number(len(s.square))
		width := len(s.square) / len(s.count)
		for i, v := range s.square {
			count := s.count[i/width]
			if count == 0 {
				v, count = 1, 1
			}
			b.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v/count*float32(calls))))
		}
	}
	number(x.Chunks)
	dataset := ""
	if len(x.Datasets) > 0 {
		dataset = x.Datasets[len(x.Datasets)-1]
	}
	number(len(dataset))
	b.WriteString(dataset)
	_, err := b.WriteTo(w)
	return err
}
