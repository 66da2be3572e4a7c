package gguf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/internal/container"
	"github.com/parelm/pare/model/tensor"
)

// File is an open model: one file, or all parts of a split one.
type File struct {
	meta    *Metadata
	tensors []*tensor.Tensor
	byName  map[string]int32
	names   []string // file names
	closers []io.Closer
}

// Open opens the file at path. The first part of a split model (model-00001-of-00003.gguf) opens all of them, which must
// lie beside it.
//
// A file that breaks the format is refused with a *tensor.FileError of class ErrCorrupt, one with types or versions
// that pare does not know with ErrUnsupported, one over a limit with ErrTooLarge, contradictory metadata with
// ErrInvalid.
func Open(path string) (*File, error) {
	f, size, err := container.Open(path)
	if err != nil {
		return nil, err
	}
	out := &File{names: []string{path}, closers: []io.Closer{f}}
	h, err := parse(f, path, size)
	if err == nil {
		out.meta, out.tensors, out.byName = &h.meta, h.tensors, h.byName
		err = out.openSplit(path)
	}
	if err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

// splitName matches the names that llama.cpp gives to the parts of a model.
var splitName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)

// openSplit opens the other parts, if the file that is already open is the first of several.
func (f *File) openSplit(path string) error {
	if !f.meta.Has("split.count") {
		return nil
	}
	count, err := f.meta.Uint("split.count")
	if err != nil {
		return err
	}
	if count <= 1 {
		return nil
	}
	field := `key "split.count"`
	if count > uint64(limits.Shards) {
		return tensor.Errorf(tensor.ErrTooLarge, path, field, "%d parts, the limit is %d", count, limits.Shards)
	}
	no, err := f.meta.Uint("split.no")
	if err != nil {
		return err
	}
	m := splitName.FindStringSubmatch(filepath.Base(path))
	if m == nil {
		return tensor.Errorf(tensor.ErrInvalid, path, field, "one of %d parts of a split model, but not named NAME-0000n-of-%05d.gguf", count, count)
	}
	part := func(i uint64) string { return fmt.Sprintf("%s-%05d-of-%05d.gguf", m[1], i+1, count) }
	if no != 0 {
		return tensor.Errorf(tensor.ErrInvalid, path, `key "split.no"`, "is %d: this is not the first part of the model, open %s", no, part(0))
	}
	if n, _ := strconv.ParseUint(m[3], 10, 64); n != count {
		return tensor.Errorf(tensor.ErrCorrupt, path, field, "is %d, the file's name says %s", count, m[3])
	}
	d, err := container.OpenDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	f.closers = append(f.closers, d)
	for i := uint64(1); i < count; i++ {
		if err := f.openPart(d, part(i), i, count); err != nil {
			return err
		}
	}
	if f.meta.Has("split.tensors.count") {
		want, err := f.meta.Uint("split.tensors.count")
		if err != nil {
			return err
		}
		if want != uint64(len(f.tensors)) {
			return tensor.Errorf(tensor.ErrCorrupt, path, `key "split.tensors.count"`, "is %d, the parts hold %d tensors", want, len(f.tensors))
		}
	}
	return nil
}

// maxOpen is how many parts stay open; the others are opened for each read.
const maxOpen = 128

func (f *File) openPart(d *container.Dir, name string, no, count uint64) error {
	path := d.Path(name)
	file, size, err := d.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return tensor.Errorf(tensor.ErrCorrupt, path, "", "part %d of %d of the model is missing", no+1, count)
	}
	if err != nil {
		return err
	}
	var r io.ReaderAt = file
	if len(f.names) < maxOpen {
		f.closers = append(f.closers, file)
	} else {
		defer file.Close()
		r = &container.Reopened{Dir: d, File: name, Size: size}
	}
	h, err := parse(r, path, size)
	if err != nil {
		return err
	}
	for _, want := range []pair{{"split.no", no}, {"split.count", count}} {
		got, err := h.meta.Uint(want.key)
		if err != nil {
			return err
		}
		if got != want.value {
			return tensor.Errorf(tensor.ErrCorrupt, path, fmt.Sprintf("key %q", want.key), "is %d, want %d", got, want.value)
		}
	}
	for _, t := range h.tensors {
		if _, dup := f.byName[t.Name]; dup {
			return tensor.Errorf(tensor.ErrCorrupt, path, fmt.Sprintf("tensor %q", t.Name), "is in two parts of the model")
		}
		if int64(len(f.tensors)) >= limits.GGUFTensors {
			return tensor.Errorf(tensor.ErrTooLarge, path, "tensor count", "more than %d tensors in all parts", limits.GGUFTensors)
		}
		f.byName[t.Name] = int32(len(f.tensors))
		f.tensors = append(f.tensors, t)
	}
	f.names = append(f.names, path)
	return nil
}

// Tensors returns all tensors in the order in which the file describes them, part after part.
func (f *File) Tensors() []*tensor.Tensor { return f.tensors }

// Tensor returns the tensor called name.
func (f *File) Tensor(name string) (*tensor.Tensor, bool) {
	i, ok := f.byName[name]
	if !ok {
		return nil, false
	}
	return f.tensors[i], true
}

// Metadata returns the key-value pairs, those of the first part of a split model.
func (f *File) Metadata() *Metadata { return f.meta }

// Files returns the paths of the files that hold the tensors.
func (f *File) Files() []string { return f.names }

// Close closes all files. Tensors cannot be read afterwards.
func (f *File) Close() error {
	var errs []error
	for _, c := range f.closers {
		errs = append(errs, c.Close())
	}
	f.closers = nil
	return errors.Join(errs...)
}
