package model

import (
	"encoding/json"
	"path/filepath"
	"strings"

	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/torch"
)

// nanoGPT and the many small training programs after it save one archive: a state dict with GPT-2's tensors, linear weights
// as [out, in], and the settings of the program beside it (Karpathy, nanoGPT, train.py). Their blocks compute exact GELU.

// nanoNames are the names that such programs give to parts of GPT-2, each list under the name that Hugging Face uses.
var nanoNames = []struct {
	hf    string
	other []string
}{
	{"transformer.wte.", []string{"wte.", "tok_emb.", "token_embedding.", "token_embedding_table."}},
	{"transformer.wpe.", []string{"wpe.", "pos_emb.", "position_embedding.", "position_embedding_table."}},
	{"transformer.h.", []string{"h.", "blocks.", "layers."}},
	{"transformer.ln_f.", []string{"ln_f."}},
	{"lm_head.", []string{"head."}},
}

// nanoSettings are the settings that make a configuration, under the names of config.json and of nanoGPT.
var nanoSettings = [][2]string{{"vocab_size", "vocab_size"}, {"n_positions", "block_size"}, {"n_embd", "n_embd"}, {"n_layer", "n_layer"}, {"n_head", "n_head"}}

func openNanoGPT(path string) (*Model, error) {
	f, err := torch.Open(path)
	if err != nil {
		return nil, err
	}
	m, err := fromNanoGPT(path, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	m.close, m.files = append(m.close, f), f.Files()
	return m, nil
}

func fromNanoGPT(path string, f *torch.File) (*Model, error) {
	byName := map[string]*tensor.Tensor{}
	for _, t := range f.Tensors() {
		byName[nanoName(t.Name)] = t
	}
	o := &object{file: path, vals: map[string]json.RawMessage{}}
	o.set("architectures", []string{gpt2.Class})
	o.set("model_type", "gpt2")
	for _, s := range nanoSettings {
		v, ok := setting(f.Metadata(), s[1])
		if !ok {
			return nil, tensor.Errorf(ErrUnsupported, path, "", "holds weights but not the setting %q of a nanoGPT checkpoint; put the weights into a directory with config.json, as pytorch_model.bin",
				s[1])
		}
		o.set(s[0], v)
	}
	o.set("activation_function", "gelu")
	_, own := byName["lm_head.weight"]
	tied := true
	if own {
		same, err := sameValues(byName["lm_head.weight"], byName["transformer.wte.weight"])
		if err != nil {
			return nil, err
		}
		tied = same
	}
	o.set("tie_word_embeddings", tied)
	o.set("torch_dtype", "float32")
	c, err := gpt2.read(o)
	if err != nil {
		return nil, err
	}
	side, err := sideFiles(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	m := &Model{Config: c, Graph: Draw(c), Path: path, Warnings: o.warnings, side: side}
	table := append([]stored(nil), gpt2.hf...)
	for i := range table {
		table[i].Transposed = false
	}
	return m, m.assemble(eachSlot(m.Graph, table), func(name string) (*tensor.Tensor, bool) {
		t, ok := byName[name]
		return t, ok
	})
}

// nanoName returns the name that Hugging Face gives to a tensor.
func nanoName(name string) string {
	for _, wrapper := range []string{"_orig_mod.", "module."} { // torch.compile, DistributedDataParallel
		name = strings.TrimPrefix(name, wrapper)
	}
	for _, n := range nanoNames {
		for _, o := range n.other {
			if rest, ok := strings.CutPrefix(name, o); ok {
				return n.hf + rest
			}
		}
	}
	return name
}

// setting finds a number among the plain values of a checkpoint, at the top or in one of its dictionaries.
func setting(meta map[string]any, name string) (int64, bool) {
	for _, prefix := range []string{"model_args.", "config.", "args.", "hparams.", ""} {
		if v, ok := meta[prefix+name].(int64); ok {
			return v, true
		}
	}
	return 0, false
}

// sameValues reports whether two tensors hold the same bytes.
func sameValues(a, b *tensor.Tensor) (bool, error) {
	if a == nil || b == nil || a.Codec != b.Codec || !sameShape(a.Shape, b.Shape) {
		return false, nil
	}
	rb := a.RowBytes()
	step := max(1, copyBytes/max(rb, 1))
	for lo := 0; lo < a.Rows(); lo += step {
		hi := min(lo+step, a.Rows())
		x, err := a.ReadRaw(lo, hi)
		if err != nil {
			return false, err
		}
		y, err := b.ReadRaw(lo, hi)
		if err != nil || string(x) != string(y) {
			return false, err
		}
	}
	return true, nil
}
