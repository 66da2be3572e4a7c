package container

import (
	"fmt"
	"os"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// Index is the table of a sharded checkpoint: which tensor lies in which file.
type Index struct {
	File   map[string]string // tensor name to file name
	Shards []string          // file names in the order in which they are first named
}

// ReadIndex reads an index such as model.safetensors.index.json from an open file. It checks the table, not the shards:
// known form, no tensor twice, plain local file names, no more than limits.Shards of them.
func ReadIndex(f *os.File, path string, size int64) (*Index, error) {
	data, err := ReadLimited(f, path, size, limits.ShardIndex)
	if err != nil {
		return nil, err
	}
	return ParseIndex(data, path)
}

// ParseIndex is ReadIndex over bytes; path serves the messages.
func ParseIndex(data []byte, path string) (*Index, error) {
	corrupt := func(err error) error {
		if fe, ok := err.(*tensor.FileError); ok {
			return fe
		}
		return tensor.Errorf(tensor.ErrCorrupt, path, "", "%v", err)
	}
	s, err := NewScanner(data)
	if err != nil {
		return nil, corrupt(err)
	}
	var ix *Index
	seen := map[string]bool{}
	err = s.Object(func(key string) error {
		if seen[key] {
			return fmt.Errorf("key %q twice", clip(key))
		}
		seen[key] = true
		if key != "weight_map" {
			return s.Skip(16)
		}
		ix, err = weightMap(s, path)
		return err
	})
	if err == nil {
		err = s.End()
	}
	if err != nil {
		return nil, corrupt(err)
	}
	if ix == nil || len(ix.File) == 0 {
		return nil, tensor.Errorf(tensor.ErrCorrupt, path, "weight_map", "missing or empty")
	}
	return ix, nil
}

func weightMap(s *Scanner, path string) (*Index, error) {
	ix := &Index{File: map[string]string{}}
	known := map[string]string{} // file names, so that each is kept once
	err := s.Object(func(name string) error {
		file, err := s.String()
		if err != nil {
			return err
		}
		field := fmt.Sprintf("weight_map: tensor %q", clip(name))
		if _, dup := ix.File[name]; dup {
			return tensor.Errorf(tensor.ErrCorrupt, path, field, "named twice")
		}
		if int64(len(ix.File)) >= limits.SafetensorsTensors {
			return tensor.Errorf(tensor.ErrTooLarge, path, "weight_map", "more than %d tensors", limits.SafetensorsTensors)
		}
		if err := TensorName(name); err != nil {
			return tensor.Errorf(tensor.ErrInvalid, path, field, "%v", err)
		}
		shared, ok := known[file]
		if !ok {
			if !LocalName(file) {
				return tensor.Errorf(tensor.ErrInvalid, path, field, "file name %q is not the plain name of a file in the directory", clip(file))
			}
			if int64(len(known)) >= limits.Shards {
				return tensor.Errorf(tensor.ErrTooLarge, path, "weight_map", "more than %d files", limits.Shards)
			}
			known[file], shared = file, file
			ix.Shards = append(ix.Shards, file)
		}
		ix.File[name] = shared
		return nil
	})
	return ix, err
}
