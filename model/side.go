package model

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/parelm/pare/model/gguf"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/tokenizer"
)

// Side are the files beside the weights that a copy of the checkpoint needs: tokenizer, generation settings, licence.
// They are kept byte for byte.
type Side struct {
	dir   string         // where they lie
	names []string       // those that do
	meta  *gguf.Metadata // where the model came from a GGUF file
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

// sideFiles lists the side files of a directory.
func sideFiles(dir string) (Side, error) {
	s := Side{dir: dir}
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

func (s *Side) read(name string) ([]byte, error) { return os.ReadFile(filepath.Join(s.dir, name)) }

// copy writes the side files into a Hugging Face directory.
func (s *Side) copy(sink Sink) error {
	for _, n := range s.names {
		data, err := s.read(n)
		if err != nil {
			return err
		}
		if err := writeFile(sink, n, data); err != nil {
			return err
		}
	}
	if s.meta == nil {
		return nil
	}
	made, err := s.fromGGUF()
	if err != nil {
		return err
	}
	for _, n := range sortedKeys(made) {
		if err := writeFile(sink, n, made[n]); err != nil {
			return err
		}
	}
	return nil
}
