package model_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/parelm/pare/model"
)

// A new model is drawn, written as a Hugging Face directory, and opened again; its graph knows what it is made of.
func Example() {
	path, err := os.MkdirTemp("", "pare")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(path)
	c, err := model.NewConfig("llama", map[string]any{"vocab_size": 100, "hidden_size": 32, "intermediate_size": 64,
		"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2})
	if err != nil {
		panic(err)
	}
	if err := model.Random(c, 1).SaveHF(context.Background(), folder(path)); err != nil {
		panic(err)
	}
	m, err := model.Open(path)
	if err != nil {
		panic(err)
	}
	defer m.Close()
	w := m.Graph.Weight("layers.1.attn.k")
	fmt.Println(m.Config.Family.Name, m.Graph.Parameters(), w.Name, w.Shape(), w.Dims[0])
	// Output: llama 24992 layers.1.attn.k [16 32] layers.1.kv_heads[2x8]
}

// folder is a Sink: where the files of a checkpoint go.
type folder string

func (f folder) Create(name string) (model.SinkFile, error) {
	return os.Create(filepath.Join(string(f), name))
}
