package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/internal/container"
	"github.com/parelm/pare/model/tensor"
)

// File is an open checkpoint: a single file, or all shards of a directory.
type File struct {
	tensors []*tensor.Tensor
	byName  map[string]int32
	meta    map[string]string
	names   []string // file names
	closers []io.Closer
}

// Open opens one file. Its tensors stay readable until Close.
//
// A file that breaks the format is refused with a *tensor.FileError of class ErrCorrupt, one with element types
// that pare does not know with ErrUnsupported, one over a limit with ErrTooLarge.
func Open(path string) (*File, error) {
	f, size, err := container.Open(path)
	if err != nil {
		return nil, err
	}
	h, off, err := readHeader(f, path, size)
	if err != nil {
		f.Close()
		return nil, err
	}
	if h.meta == nil {
		h.meta = map[string]string{}
	}
	return &File{h.tensors(f, off), h.byName, h.meta, []string{path}, []io.Closer{f}}, nil
}

// readHeader reads and checks the header of a file and returns it with the offset of the first tensor.
func readHeader(f io.ReaderAt, path string, size int64) (*header, int64, error) {
	var first [8]byte
	if size < 8 {
		return nil, 0, tensor.Errorf(tensor.ErrCorrupt, path, "header length", "the file has %d bytes, it takes 8", size)
	}
	if _, err := f.ReadAt(first[:], 0); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	n := binary.LittleEndian.Uint64(first[:])
	if err := recognize(first[:], path); err != nil {
		return nil, 0, err
	}
	switch {
	case n > uint64(limits.SafetensorsHeader):
		return nil, 0, tensor.Errorf(tensor.ErrTooLarge, path, "header length", "%d bytes, the limit is %d", n, limits.SafetensorsHeader)
	case n > uint64(size-8):
		return nil, 0, tensor.Errorf(tensor.ErrCorrupt, path, "header length", "%d bytes, the file has %d after it", n, size-8)
	case n == 0:
		return nil, 0, tensor.Errorf(tensor.ErrCorrupt, path, "header length", "is 0")
	}
	data := make([]byte, n) // not more than the file really has
	if _, err := f.ReadAt(data, 8); err != nil {
		return nil, 0, tensor.Errorf(tensor.ErrCorrupt, path, "header", "%v", err)
	}
	off := 8 + int64(n)
	h, err := parseHeader(data, path, size-off)
	return h, off, err
}

// recognize names well-known files that are no safetensors although they are called so.
func recognize(first []byte, path string) error {
	switch {
	case string(first) == "version ":
		return tensor.Errorf(tensor.ErrUnsupported, path, "", "is a git-lfs pointer, not the weights: fetch them with `git lfs pull`")
	case string(first[:4]) == "PK\x03\x04":
		return tensor.Errorf(tensor.ErrUnsupported, path, "", "is a zip archive, perhaps a PyTorch checkpoint under a wrong name")
	case string(first[:4]) == "GGUF":
		return tensor.Errorf(tensor.ErrUnsupported, path, "", "is a GGUF file under a wrong name")
	}
	return nil
}

// tensors makes the tensors of a header over the file that has it.
func (h *header) tensors(r io.ReaderAt, off int64) []*tensor.Tensor {
	out := make([]*tensor.Tensor, len(h.entries))
	for i := range h.entries {
		e := &h.entries[i]
		out[i] = tensor.FromFile(e.name, e.dtype.codec, e.shape, r, off+e.begin)
	}
	return out
}

// OpenDir opens the checkpoint in a directory: model.safetensors.index.json with its shards, or model.safetensors.
// The index must agree with the shards in both directions. Shards are plain files of the same directory; a name or a
// link that leads out of it is refused, except for the links of the Hugging Face cache.
//
// An error that errors.Is fs.ErrNotExist means that the directory holds neither file.
func OpenDir(dir string) (*File, error) {
	d, err := container.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	out := &File{byName: map[string]int32{}, meta: map[string]string{}, closers: []io.Closer{d}}
	if err := out.openAll(d); err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

const singleName = "model.safetensors"

func (f *File) openAll(d *container.Dir) error {
	ifile, size, err := d.Open(IndexName)
	if errors.Is(err, fs.ErrNotExist) {
		return f.openShard(d, singleName, nil)
	}
	if err != nil {
		return err
	}
	ix, err := container.ReadIndex(ifile, d.Path(IndexName), size)
	ifile.Close()
	if err != nil {
		return err
	}
	for _, name := range ix.Shards {
		if err := f.openShard(d, name, ix); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = tensor.Errorf(tensor.ErrCorrupt, d.Path(IndexName), "weight_map", "names %s, which is missing", name)
			}
			return err
		}
	}
	missing := ""
	for name := range ix.File {
		if _, ok := f.byName[name]; !ok && (missing == "" || name < missing) {
			missing = name
		}
	}
	if missing != "" {
		return tensor.Errorf(tensor.ErrCorrupt, d.Path(ix.File[missing]), fmt.Sprintf("tensor %q", missing), "is not there, though %s says so", IndexName)
	}
	return nil
}

// openShard adds the tensors of one file. Without an index all belong to the checkpoint; with one, every tensor must be
// said to lie in this file.
func (f *File) openShard(d *container.Dir, name string, ix *container.Index) error {
	path := d.Path(name)
	file, size, err := d.Open(name)
	if err != nil {
		return err
	}
	h, off, err := readHeader(file, path, size)
	if err != nil {
		file.Close()
		return err
	}
	if int64(len(f.tensors)+len(h.entries)) > limits.SafetensorsTensors {
		file.Close()
		return tensor.Errorf(tensor.ErrTooLarge, path, "header", "more than %d tensors in all shards", limits.SafetensorsTensors)
	}
	for i := range h.entries {
		e := &h.entries[i]
		if ix == nil {
			continue
		}
		if in, ok := ix.File[e.name]; !ok || in != name {
			file.Close()
			if ok {
				return tensor.Errorf(tensor.ErrCorrupt, path, e.field(), "is here, %s says it is in %s", IndexName, in)
			}
			return tensor.Errorf(tensor.ErrCorrupt, path, e.field(), "is not in %s", IndexName)
		}
	}
	f.add(h, d, name, file, off, size)
	return nil
}

// maxOpen is how many shards stay open. The others are opened for each read, so that a checkpoint of a thousand shards
// does not run out of descriptors.
const maxOpen = 128

func (f *File) add(h *header, d *container.Dir, name string, file *os.File, off, size int64) {
	var r io.ReaderAt = file
	if len(f.names) < maxOpen {
		f.closers = append(f.closers, file)
	} else {
		file.Close()
		r = &container.Reopened{Dir: d, File: name, Size: size}
	}
	f.names = append(f.names, d.Path(name))
	for _, t := range h.tensors(r, off) {
		f.byName[t.Name] = int32(len(f.tensors))
		f.tensors = append(f.tensors, t)
	}
	for k, v := range h.meta {
		if _, ok := f.meta[k]; !ok {
			f.meta[k] = v
		}
	}
}

// Tensors returns all tensors in the order of their bytes, shard after shard.
func (f *File) Tensors() []*tensor.Tensor { return f.tensors }

// Tensor returns the tensor called name.
func (f *File) Tensor(name string) (*tensor.Tensor, bool) {
	i, ok := f.byName[name]
	if !ok {
		return nil, false
	}
	return f.tensors[i], true
}

// Metadata returns the strings of the header's __metadata__, such as "format": "pt"; of shards, the first that has a key
// counts. Not nil.
func (f *File) Metadata() map[string]string { return f.meta }

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
