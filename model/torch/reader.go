package torch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/internal/container"
	"github.com/parelm/pare/model/tensor"
)

// File is an open checkpoint: one archive, all shards of a directory, or a llama2.c file.
type File struct {
	tensors []*tensor.Tensor
	byName  map[string]int32
	meta    map[string]any
	names   []string // file names
	closers []io.Closer
}

// Open opens one archive. Its weights are the dictionary of tensors that the archive holds: at the top, or under a key
// such as "model" or "state_dict".
//
// A file that breaks its format is refused with a *tensor.FileError of class ErrCorrupt; a format, function or layout
// that pare does not read with ErrUnsupported; one over a limit with ErrTooLarge.
func Open(path string) (*File, error) {
	f, size, err := container.Open(path)
	if err != nil {
		return nil, err
	}
	out := &File{byName: map[string]int32{}, meta: map[string]any{}}
	if err := out.add(f, path, size); err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

const (
	singleName = "pytorch_model.bin"
	indexName  = "pytorch_model.bin.index.json"
)

// OpenDir opens the checkpoint in a directory: pytorch_model.bin.index.json with its shards, or pytorch_model.bin. Shards
// are plain files of the same directory, as in package safetensors.
//
// An error that errors.Is fs.ErrNotExist means that the directory holds neither file.
func OpenDir(dir string) (*File, error) {
	d, err := container.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	out := &File{byName: map[string]int32{}, meta: map[string]any{}}
	if err := out.openAll(d); err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

func (f *File) openAll(d *container.Dir) error {
	ifile, size, err := d.Open(indexName)
	if errors.Is(err, fs.ErrNotExist) {
		file, size, err := d.Open(singleName)
		if err != nil {
			return err
		}
		return f.add(file, d.Path(singleName), size)
	}
	if err != nil {
		return err
	}
	ix, err := container.ReadIndex(ifile, d.Path(indexName), size)
	ifile.Close()
	if err != nil {
		return err
	}
	if len(ix.Shards) > maxOpen {
		return tensor.Errorf(tensor.ErrTooLarge, d.Path(indexName), "weight_map", "names %d files, the limit is %d", len(ix.Shards), maxOpen)
	}
	for _, name := range ix.Shards {
		file, size, err := d.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return tensor.Errorf(tensor.ErrCorrupt, d.Path(indexName), "weight_map", "names %s, which is missing", name)
		}
		if err != nil {
			return err
		}
		from := len(f.tensors)
		if err := f.add(file, d.Path(name), size); err != nil {
			return err
		}
		for _, t := range f.tensors[from:] {
			if in := ix.File[t.Name]; in != name {
				return tensor.Errorf(tensor.ErrCorrupt, d.Path(name), fmt.Sprintf("tensor %.80q", t.Name), "is here, %s says it is in %q", indexName, in)
			}
		}
	}
	var missing []string
	for name := range ix.File {
		if _, ok := f.byName[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		name := slices.Min(missing)
		return tensor.Errorf(tensor.ErrCorrupt, d.Path(ix.File[name]), fmt.Sprintf("tensor %.80q", name), "is not there, though %s says so", indexName)
	}
	return nil
}

// maxOpen is how many shards a checkpoint may have: all stay open.
const maxOpen = 200

// add reads an archive and takes its tensors. It takes over the file.
func (f *File) add(file *os.File, path string, size int64) error {
	f.closers = append(f.closers, file)
	f.names = append(f.names, path)
	list, meta, err := read(file, path, size)
	if err != nil {
		return err
	}
	for _, t := range list {
		if _, dup := f.byName[t.Name]; dup {
			return tensor.Errorf(tensor.ErrCorrupt, path, fmt.Sprintf("tensor %.80q", t.Name), "is in two files")
		}
		f.byName[t.Name] = int32(len(f.tensors))
		f.tensors = append(f.tensors, t)
	}
	for k, v := range meta {
		if _, ok := f.meta[k]; !ok {
			f.meta[k] = v
		}
	}
	return nil
}

// read returns the tensors of one archive and the plain values beside them.
func read(r io.ReaderAt, path string, size int64) ([]*tensor.Tensor, map[string]any, error) {
	if err := recognize(r, path, size); err != nil {
		return nil, nil, err
	}
	a, err := openArchive(r, path, size)
	if err != nil {
		return nil, nil, err
	}
	v, err := unpickle(a.pickle, path)
	if err != nil {
		return nil, nil, err
	}
	d, err := stateDict(v, path)
	if err != nil {
		return nil, nil, err
	}
	if int64(len(d.keys)) > limits.SafetensorsTensors {
		return nil, nil, tensor.Errorf(tensor.ErrTooLarge, path, "pickle", "%d tensors, the limit is %d", len(d.keys), limits.SafetensorsTensors)
	}
	list, err := a.weights(d)
	meta := map[string]any{}
	notes(v, "", 1, meta)
	return list, meta, err
}

// recognize names files that are no archives.
func recognize(r io.ReaderAt, path string, size int64) error {
	first := make([]byte, min(size, 16))
	if _, err := r.ReadAt(first, 0); err != nil && len(first) > 0 {
		return fmt.Errorf("%s: %w", path, err)
	}
	refuse := func(format string, args ...any) error {
		return tensor.Errorf(tensor.ErrUnsupported, path, "", format, args...)
	}
	const advice = "load it with torch and save it again, or convert it to safetensors"
	switch {
	case bytes.HasPrefix(first, []byte("PK\x03\x04")):
		return nil
	case len(first) == 0:
		return tensor.Errorf(tensor.ErrCorrupt, path, "", "is empty")
	case bytes.HasPrefix(first, []byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")):
		return refuse("is in torch's format from before version 1.6: %s", advice)
	case first[0] == 0x80:
		return refuse("is a bare pickle, not an archive: %s", advice)
	case bytes.HasPrefix(first, []byte("version https:/")):
		return refuse("is a git-lfs pointer, not the weights: fetch them with `git lfs pull`")
	case bytes.HasPrefix(first, []byte("GGUF")):
		return refuse("is a GGUF file under a wrong name")
	case len(first) > 8 && first[8] == '{':
		return refuse("is a safetensors file under a wrong name")
	}
	return tensor.Errorf(tensor.ErrCorrupt, path, "", "is no archive that torch.save writes: begins with %q", first[:min(4, len(first))])
}

// Tensors returns all tensors in the order of the state dict, shard after shard.
func (f *File) Tensors() []*tensor.Tensor { return f.tensors }

// Tensor returns the tensor called name.
func (f *File) Tensor(name string) (*tensor.Tensor, bool) {
	i, ok := f.byName[name]
	if !ok {
		return nil, false
	}
	return f.tensors[i], true
}

// Metadata returns the plain values that the file holds beside the weights: bool, int64, float64 or string, those of nested
// dictionaries and objects under names such as "config.n_layer". Of a llama2.c file they are the header's fields.
func (f *File) Metadata() map[string]any { return f.meta }

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
