package model

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/tokenizer"
	"github.com/parelm/pare/model/torch"
)

// The .bin files of llama2.c are Llamas under Meta's names, with q and k in the order of rotation by neighbouring pairs, as
// GGUF keeps them too. The vocabulary lies in a file of its own, tok*.bin: the longest token's length, then a float32
// score, a length and the bytes of every token, in which a space stands for SentencePiece's meta symbol.

var llama2cNames = []stored{
	{Site: "embed", Name: "tok_embeddings"},
	{Site: "layers.#.attn.norm", Name: "layers.#.attention_norm"},
	{Site: "layers.#.attn.q", Name: "layers.#.attention.wq"},
	{Site: "layers.#.attn.k", Name: "layers.#.attention.wk"},
	{Site: "layers.#.attn.v", Name: "layers.#.attention.wv"},
	{Site: "layers.#.attn.o", Name: "layers.#.attention.wo"},
	{Site: "layers.#.mlp.norm", Name: "layers.#.ffn_norm"},
	{Site: "layers.#.mlp.gate", Name: "layers.#.feed_forward.w1"},
	{Site: "layers.#.mlp.up", Name: "layers.#.feed_forward.w3"},
	{Site: "layers.#.mlp.down", Name: "layers.#.feed_forward.w2"},
	{Site: "norm", Name: "norm"},
	{Site: "head", Name: "output"},
}

func openLlama2C(path string) (*Model, error) {
	if first, err := firstBytes(path); err != nil {
		return nil, err
	} else if bytes.HasPrefix(first, []byte("PK\x03\x04")) || first[0] == 0x80 {
		return nil, tensor.Errorf(ErrUnsupported, path, "", "holds PyTorch weights alone; open the directory, in which config.json says what they are")
	}
	f, err := torch.OpenLlama2C(path)
	if err != nil {
		return nil, err
	}
	m, err := fromLlama2C(path, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	m.close, m.files = append(m.close, f), f.Files()
	return m, nil
}

// firstBytes reads the beginning of a file, at least one byte.
func firstBytes(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 16)
	n, _ := f.Read(b) // what cannot be read is seen by the reader proper
	return b[:max(n, 1)], nil
}

func fromLlama2C(path string, f *torch.File) (*Model, error) {
	head := f.Metadata()
	o := &object{file: path, vals: map[string]json.RawMessage{}}
	o.set("architectures", []string{llama.Class})
	o.set("model_type", "llama")
	for _, k := range [][2]string{{"vocab_size", "vocab_size"}, {"hidden_size", "dim"}, {"intermediate_size", "hidden_dim"}, {"num_hidden_layers", "n_layers"},
		{"num_attention_heads", "n_heads"}, {"num_key_value_heads", "n_kv_heads"}, {"max_position_embeddings", "max_seq_len"}} {
		o.set(k[0], head[k[1]])
	}
	o.set("rms_norm_eps", 1e-5) // run.c
	o.set("tie_word_embeddings", head["shared_classifier"])
	o.set("bos_token_id", 1)
	o.set("eos_token_id", 2)
	o.set("torch_dtype", "float32")
	c, err := llama.read(o)
	if err != nil {
		return nil, err
	}
	m := &Model{Config: c, Graph: Draw(c), Path: path, Warnings: o.warnings}
	tok, err := llama2cVocab(path, c.Vocab)
	if err == nil && tok != nil {
		m.side.tok = tok
		m.side.files, err = tok.Files()
		m.side.names = sortedKeys(m.side.files)
	}
	if err != nil {
		return nil, err
	}
	all := slots(m.Graph, llama2cNames)
	for i := range all {
		if s := &all[i]; strings.HasSuffix(s.Site, ".attn.q") || strings.HasSuffix(s.Site, ".attn.k") {
			s.permute = c.Layers[0].HeadDim
		}
	}
	return m, m.assemble(slices.Values(all), f.Tensor)
}

// llama2cVocab reads the only tok*.bin beside a model that has as many tokens; nil where there is none.
func llama2cVocab(path string, vocab int) (*tokenizer.Tokenizer, error) {
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "tok*.bin")) // the pattern is good
	if len(found) != 1 {
		return nil, nil
	}
	file := found[0]
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if st.Size() > limits.Tokenizer {
		return nil, tensor.Errorf(ErrTooLarge, file, "", "is %d bytes, the limit is %d", st.Size(), limits.Tokenizer)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	g, err := parseLlama2CVocab(file, data)
	if err != nil {
		return nil, err
	}
	if len(g.Tokens) != vocab {
		return nil, nil // of another model
	}
	return tokenizer.FromGGUF(file, g)
}

// parseLlama2CVocab reads the tokens into the form of a GGUF vocabulary.
func parseLlama2CVocab(file string, data []byte) (*tokenizer.GGUF, error) {
	g := tokenizer.NewGGUF()
	g.Model, g.BOS, g.EOS, g.UNK = "llama", 1, 2, 0
	if len(data) < 4 {
		return nil, tensor.Errorf(ErrCorrupt, file, "", "is %d bytes, too short for a vocabulary", len(data))
	}
	for at := 4; at < len(data); {
		field := fmt.Sprintf("token %d", len(g.Tokens))
		if len(data)-at < 8 {
			return nil, tensor.Errorf(ErrCorrupt, file, field, "is cut off")
		}
		score, n := math.Float32frombits(binary.LittleEndian.Uint32(data[at:])), int64(binary.LittleEndian.Uint32(data[at+4:]))
		at += 8
		if n > int64(len(data)-at) || n > limits.Token {
			return nil, tensor.Errorf(ErrCorrupt, file, field, "has %d bytes, the file has %d left", n, len(data)-at)
		}
		piece := string(data[at : at+int(n)])
		at += int(n)
		id, kind := len(g.Tokens), int32(1)
		switch {
		case id < 3: // written as "\n<s>\n" for printing
			piece, kind = []string{"<unk>", "<s>", "</s>"}[id], []int32{2, 3, 3}[id]
		case len(piece) == 6 && strings.HasPrefix(piece, "<0x") && piece[5] == '>':
			kind = 6
		default:
			piece = strings.ReplaceAll(piece, " ", "▁")
		}
		g.Tokens, g.Scores, g.Types = append(g.Tokens, piece), append(g.Scores, score), append(g.Types, kind)
	}
	yes := true
	g.AddBOS, g.AddSpacePrefix = &yes, &yes
	return g, nil
}
