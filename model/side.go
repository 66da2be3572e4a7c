package model

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/parelm/pare/model/gguf"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/tokenizer"
)

// side are the files beside the weights that a copy of the checkpoint needs: tokenizer, generation settings, licence.
// They are kept byte for byte.
type side struct {
	dir   string            // where they lie
	names []string          // those that do
	files map[string][]byte // in place of dir, for files that were changed
	meta  *gguf.Metadata    // where the model came from a GGUF file
	tok   *tokenizer.Tokenizer
}

// sideLimit bounds one side file; the largest published tokenizer.json is 33 MB.
const sideLimit = 128 << 20

// isSide reports whether a file of a Hugging Face directory goes along.
func isSide(name string) bool {
	switch name {
	case "generation_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
		"spiece.model", "sentencepiece.bpe.model":
		return true
	}
	for _, prefix := range []string{"tokenizer", "tokenization", "chat_template", "LICENSE", "NOTICE"} {
		if strings.HasPrefix(name, prefix) {
			return !strings.HasSuffix(name, ".py")
		}
	}
	return strings.HasSuffix(name, ".tiktoken")
}

// Belongs reports whether a file of that name is part of a checkpoint: weights, configuration, tokenizer and what else a copy
// of it needs. Notes and results that lie beside it are not.
func Belongs(name string) bool {
	if name == "config.json" || isSide(name) {
		return true
	}
	for _, end := range []string{".safetensors", ".safetensors.index.json", ".gguf", ".bin", ".bin.index.json", ".pt", ".pth"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// sideFiles lists the side files of a directory.
func sideFiles(dir string) (side, error) {
	s := side{dir: dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return s, err
	}
	for _, e := range entries {
		if !isSide(e.Name()) {
			continue
		}
		st, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		if st.Size() > sideLimit {
			return s, tensor.Errorf(ErrTooLarge, filepath.Join(dir, e.Name()), "", "is %d bytes, the limit is %d", st.Size(), sideLimit)
		}
		s.names = append(s.names, e.Name())
	}
	return s, nil
}

func (s *side) read(name string) ([]byte, error) {
	if s.files != nil {
		data, ok := s.files[name]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return data, nil
	}
	return os.ReadFile(filepath.Join(s.dir, name))
}

// onDisk reports whether there are side files by themselves, not only what a GGUF file holds.
func (s *side) onDisk() bool { return s.meta == nil && (s.dir != "" || s.files != nil) }

// all reads every side file.
func (s *side) all() (map[string][]byte, error) {
	if s.meta != nil {
		return s.fromGGUF()
	}
	out := map[string][]byte{}
	for _, n := range s.names {
		data, err := s.read(n)
		if err != nil {
			return nil, err
		}
		out[n] = data
	}
	return out, nil
}

// copy writes the side files into a Hugging Face directory.
func (s *side) copy(sink Sink) error {
	files, err := s.all()
	if err != nil {
		return err
	}
	for _, n := range sortedKeys(files) {
		if err := writeFile(sink, n, files[n]); err != nil {
			return err
		}
	}
	return nil
}
