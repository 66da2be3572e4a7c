package models

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tokenizer"
)

// Text is what the tokenizers of checkpoints are trained on: a few hundred plain sentences.
//
//go:embed text.txt
var Text string

// Files returns the files of a whole Hugging Face checkpoint by name: a tiny configuration, some of its keys changed, with
// lively random weights, and a byte-level BPE tokenizer of about 400 pieces that puts <s> in front. Equal arguments give equal bytes.
func Files(name string, seed uint64, change map[string]any) (map[string][]byte, error) {
	tok, err := tokenizer.Train(context.Background(), slices.Values([]string{Text}),
		tokenizer.TrainOptions{VocabSize: 400, Special: []string{"<unk>"}, BOS: "<s>", EOS: "</s>", AddBOS: true})
	if err != nil {
		return nil, err
	}
	files, err := tok.Files()
	if err != nil {
		return nil, err
	}
	data, err := configs.ReadFile("configs/" + name + ".json")
	if err != nil {
		return nil, err
	}
	var keys map[string]any
	if err := json.Unmarshal(data, &keys); err != nil {
		return nil, err
	}
	keys["vocab_size"], keys["bos_token_id"], keys["eos_token_id"] = tok.VocabSize(), tok.BOS(), tok.EOS()
	for k, v := range change {
		keys[k] = v
	}
	if data, err = json.MarshalIndent(keys, "", "  "); err != nil {
		return nil, err
	}
	c, err := model.ParseConfig("config.json", data)
	if err != nil {
		return nil, err
	}
	m, err := lively(c, seed)
	if err != nil {
		return nil, err
	}
	s := memory{}
	if err := m.SaveHF(context.Background(), s); err != nil {
		return nil, err
	}
	for n, f := range s {
		files[n] = f.Bytes()
	}
	return files, nil
}

// memory is a model.Sink that keeps what is written.
type memory map[string]*memoryFile

type memoryFile struct {
	mu sync.Mutex // rows come from several threads
	bytes.Buffer
}

func (m memory) Create(name string) (model.SinkFile, error) {
	if m[name] != nil {
		return nil, fmt.Errorf("%s is written twice", name)
	}
	m[name] = &memoryFile{}
	return m[name], nil
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := int(off) + len(p); n > f.Len() {
		f.Write(make([]byte, n-f.Len()))
	}
	return copy(f.Bytes()[off:], p), nil
}

func (f *memoryFile) Close() error { return nil }
