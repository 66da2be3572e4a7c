package recipes

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"

	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/tokenizer"
)

func init() {
	Register(Kind{Name: "init", Sources: []fs.FS{source}, Starts: true, New: func() Stage {
		return &initStage{Family: "llama", Tokenizer: bpeSettings{VocabSize: 4096, Split: "o200k", EOS: corpus.Separator}}
	}})
}

// initStage makes a new model with random weights, and a tokenizer trained on the text: what pre-training starts from.
type initStage struct {
	// Family is the architecture: llama, gpt2, qwen2, ...
	Family string `yaml:"family"`
	// Config holds keys of config.json as the family knows them: hidden_size, num_hidden_layers, ... vocab_size is that of the
	// tokenizer.
	Config configValues `yaml:"config"`
	// Tokenizer says which vocabulary is learned.
	Tokenizer bpeSettings `yaml:"tokenizer"`
	// Train is the text that the tokenizer learns from; without it the recipe's data.train.
	Train []string `yaml:"train" data:"train"`
}

// bpeSettings describe a byte-level BPE vocabulary (Sennrich et al. 2016).
type bpeSettings struct {
	// VocabSize is the number of tokens: 256 bytes, the end of text, and merges.
	VocabSize int `yaml:"vocab_size" min:"258"`
	// Split is how text is cut into words, which no token crosses: gpt2, llama3, or o200k, which
	// also cuts between lower and upper case as identifiers in code have it.
	Split string `yaml:"split" oneof:"gpt2 llama3 o200k"`
	// EOS is the token that ends a document.
	EOS string `yaml:"eos"`
}

// configValues are keys of a config.json with plain values.
type configValues map[string]any

// DecodeNode reads a mapping of plain values.
func (c *configValues) DecodeNode(n strict.Node) error {
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	out := configValues{}
	var errs []error
	for _, p := range pairs {
		v, err := plainValue(p.Value)
		out[p.Key] = v
		errs = append(errs, err)
	}
	*c = out
	return strict.Join(errs...)
}

// plainValue reads what JSON can hold.
func plainValue(n strict.Node) (any, error) {
	switch {
	case n.IsMap():
		var m configValues
		err := m.DecodeNode(n)
		return map[string]any(m), err
	case n.IsList():
		var out []any
		for _, c := range n.List() {
			v, err := plainValue(c)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	text, err := n.Text()
	if err != nil {
		return nil, err
	}
	var v any
	if json.Unmarshal([]byte(text), &v) != nil { // numbers, true, false; all else is text
		return text, nil
	}
	return json.RawMessage(text), nil
}

// TypeName tells users what the key takes.
func (configValues) TypeName() string { return "mapping" }

// JSONSchema is the schema of the key.
func (configValues) JSONSchema() map[string]any { return object{"type": "object"} }

// UsesSeed: the weights are drawn from it.
func (s *initStage) UsesSeed() bool { return true }

// fresh returns the model of the settings for a vocabulary.
func (s *initStage) fresh(vocab int, eos int32, seed uint64) (*model.Model, error) {
	values := maps.Clone(s.Config)
	if values == nil {
		values = configValues{}
	}
	if _, given := values["vocab_size"]; given {
		return nil, strict.Bad("config", "vocab_size is that of the tokenizer: give tokenizer.vocab_size")
	}
	values["vocab_size"], values["bos_token_id"], values["eos_token_id"] = vocab, eos, eos
	c, err := model.NewConfig(s.Family, values)
	if err != nil {
		return nil, strict.Bad("config", "%v", err)
	}
	return model.Random(c, seed), nil
}

func (s *initStage) Plan(ctx context.Context, p *Planning) (Estimate, error) {
	if !slices.Contains(model.Families(), s.Family) {
		return Estimate{}, strict.Bad("family", "%q is not known%s", s.Family, strict.DidYouMean(s.Family, model.Families()))
	}
	if len(s.Train) == 0 {
		return Estimate{}, strict.Bad("train", "no text for the tokenizer: give data.train in the recipe, or train here")
	}
	m, err := s.fresh(s.Tokenizer.VocabSize, 0, p.Seed)
	if err != nil {
		return Estimate{}, err
	}
	out, err := m.SizeHF(ctx)
	return Estimate{OutputBytes: out, Model: m, PeakMemory: overhead + 256<<20, Seconds: 10,
		Details: []string{fmt.Sprintf("%s, %s parameters", s.Family, report.Count(m.Graph.Parameters()))}}, err
}

func (s *initStage) Run(ctx context.Context, j *Job) error {
	tok, err := s.learn(ctx)
	if err != nil {
		return err
	}
	m, err := s.fresh(tok.VocabSize(), tok.EOS(), j.Seed)
	if err != nil {
		return err
	}
	files, err := tok.Files()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := j.WriteFile(name, files[name]); err != nil {
			return err
		}
	}
	if err := j.save(ctx, m, false, ""); err != nil {
		return err
	}
	return j.facts(report.Facts{Models: []report.Model{describe(j.Name, formatOf(m), m)}})
}

// learn trains the tokenizer.
func (s *initStage) learn(ctx context.Context) (*tokenizer.Tokenizer, error) {
	files, err := corpus.Files(s.Train)
	if err != nil {
		return nil, err
	}
	var failed error
	var texts iter.Seq[string] = func(yield func(string) bool) {
		for _, path := range files {
			for doc, err := range corpus.Documents(path) {
				if err != nil {
					failed = err
					return
				}
				if !yield(doc) {
					return
				}
			}
		}
	}
	t := s.Tokenizer
	split := map[string]tokenizer.Split{"gpt2": tokenizer.SplitGPT2, "llama3": tokenizer.SplitCL100K, "o200k": tokenizer.SplitO200K}[t.Split]
	tok, err := tokenizer.Train(ctx, texts, tokenizer.TrainOptions{VocabSize: t.VocabSize, Split: split, BOS: t.EOS, EOS: t.EOS})
	if failed != nil {
		return nil, failed
	}
	if err == nil && tok.VocabSize() < t.VocabSize {
		err = tensor.Errorf(tensor.ErrInvalid, "", "tokenizer.vocab_size", "is %d: the text has words for %d tokens only", t.VocabSize, tok.VocabSize())
	}
	return tok, err
}
