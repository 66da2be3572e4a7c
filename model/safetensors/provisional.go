package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

type File struct {
	tensors []*tensor.Tensor
	by      map[string]*tensor.Tensor
}

func (f *File) Tensors() []*tensor.Tensor { return f.tensors }
func (f *File) Tensor(name string) (*tensor.Tensor, bool) {
	t, ok := f.by[name]
	return t, ok
}
func (f *File) Close() error { return nil }

func OpenDir(dir string) (*File, error) {
	out := &File{by: map[string]*tensor.Tensor{}}
	m, _ := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	for _, p := range m {
		f, err := Open(p)
		if err != nil {
			return nil, err
		}
		for _, t := range f.tensors {
			out.tensors = append(out.tensors, t)
			out.by[t.Name] = t
		}
	}
	return out, nil
}

func Open(path string) (*File, error) {
	fh, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var n [8]byte
	fh.ReadAt(n[:], 0)
	hl := binary.LittleEndian.Uint64(n[:])
	h := make([]byte, hl)
	fh.ReadAt(h, 8)
	var m map[string]struct {
		Dtype   string  `json:"dtype"`
		Shape   []int   `json:"shape"`
		Offsets []int64 `json:"data_offsets"`
	}
	var raw map[string]json.RawMessage
	json.Unmarshal(h, &raw)
	delete(raw, "__metadata__")
	b, _ := json.Marshal(raw)
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	f := &File{by: map[string]*tensor.Tensor{}}
	var names []string
	for k := range m {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		c, err := codec.Lookup(strings.ToLower(m[k].Dtype))
		if err != nil {
			return nil, err
		}
		t := tensor.FromFile(k, c, m[k].Shape, fh, 8+int64(hl)+m[k].Offsets[0])
		f.tensors = append(f.tensors, t)
		f.by[k] = t
	}
	return f, nil
}
