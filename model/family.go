package model

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// Family is one architecture: how its configuration reads, how it is drawn, and what its tensors are called.
type Family struct {
	Name     string            // "llama"; also GGUF's general.architecture unless GGUF says otherwise
	Types    []string          // model_type values of config.json
	Class    string            // architectures[0] of a config.json that pare makes
	GGUF     string            // general.architecture
	Defaults string            // JSON object: what the reference configuration class assumes for missing keys
	Keys     map[string]string // config.json keys where they differ from standardKeys; "" cannot be expressed
	Aliases  map[string]string // other names that config.json may use, and the keys they stand for; they win
	Read     func(c *Config, o *object)
	draw     func(b *builder)
	hf       []stored // names in Hugging Face checkpoints
	ggufDiff []stored // entries that replace those of standardGGUF
	Prefix   string   // HF name prefix that some files leave out
	Ignore   []string // endings of HF tensors that carry nothing
	// PermuteQK says that GGUF keeps the rows of q and k in the order of interleaved rotation.
	PermuteQK bool
	// FromGGUF adds to a config.json made from GGUF metadata what the standard keys do not say.
	FromGGUF func(r *ggufReader, o *object)
	// Among tells the family from others of the same GGUF architecture; the one without it is the rest.
	Among func(r *ggufReader) bool
	// Spell says in config.json layer by layer what a pattern says as long as no layer is missing.
	Spell func(c *Config, o *object)
	// LlamaCPP says in a sentence what llama.cpp computes otherwise from the GGUF file, or why it does not load it; "" where
	// the two agree. It need not speak of windows: see windowed.
	LlamaCPP func(c *Config) string
	// ToGGUF adds metadata that the standard keys do not say. Keys have no architecture prefix.
	ToGGUF func(c *Config, put func(key string, value any))
}

// standardKeys are the config.json keys of most families.
var standardKeys = map[string]string{
	"vocab": "vocab_size", "hidden": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
	"kv_heads": "num_key_value_heads", "head_dim": "head_dim", "ffn": "intermediate_size",
	"context": "max_position_embeddings", "eps": "rms_norm_eps", "act": "hidden_act", "theta": "rope_theta",
	"experts": "num_experts", "experts_used": "num_experts_per_tok", "expert_ffn": "moe_intermediate_size",
	"shared_ffn": "shared_expert_intermediate_size",
}

func (f *Family) key(name string) string {
	if k, ok := f.Keys[name]; ok {
		return k
	}
	return standardKeys[name]
}

// gguf returns the family's GGUF architecture.
func (f *Family) gguf() string {
	if f.GGUF != "" {
		return f.GGUF
	}
	return f.Name
}

var (
	families   = map[string]*Family{}
	byType     = map[string]*Family{}
	byGGUFArch = map[string]*Family{}
)

// register makes a family known. Each family's file calls it once.
func register(f *Family) *Family {
	if families[f.Name] != nil {
		panic("model: family " + f.Name + " registered twice")
	}
	families[f.Name] = f
	for _, t := range f.Types {
		byType[t] = f
	}
	if f.Among == nil {
		if byGGUFArch[f.gguf()] != nil {
			panic("model: nothing tells family " + f.Name + " from " + byGGUFArch[f.gguf()].Name + " in a GGUF file")
		}
		byGGUFArch[f.gguf()] = f
	}
	return f
}

// Families returns the names of all families, sorted.
func Families() []string {
	var names []string
	for n := range families {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// ParseConfig reads a config.json. file is its name for errors.
func ParseConfig(file string, data []byte) (*Config, error) {
	o, err := parseObject(file, data)
	if err != nil {
		return nil, err
	}
	if o, err = o.language(o.text("model_type")); err != nil {
		return nil, err
	}
	t := o.text("model_type")
	if o.err != nil {
		return nil, o.err
	}
	f := byType[t]
	if f == nil {
		var known []string
		for t := range byType {
			known = append(known, t)
		}
		sort.Strings(known)
		return nil, tensor.Errorf(ErrUnsupported, file, `key "model_type"`, "is %q%s; known are %s", clip(t), refusal(t), strings.Join(known, ", "))
	}
	c, err := f.read(o)
	if err == nil && o.within != "" {
		o.warn("%s: of a %s the language model alone is read: pictures are not seen", file, o.within)
	}
	return c, err
}

// read fills a configuration: what all families share from the standard keys, then what the family adds.
func (f *Family) read(o *object) (*Config, error) {
	if err := json.Unmarshal([]byte(f.Defaults), &o.defaults); err != nil {
		panic(fmt.Sprintf("model: defaults of %s: %v", f.Name, err))
	}
	c := &Config{Family: f, hf: o}
	o.warnings = nil
	for _, old := range sortedKeys(f.Aliases) {
		o.rename(old, f.Aliases[old])
	}
	o.classes()
	c.Vocab = o.need(f.key("vocab"))
	c.Hidden = o.need(f.key("hidden"))
	if k := f.key("context"); k != "" {
		c.Context = o.need(k)
	}
	c.Tied = o.flag("tie_word_embeddings")
	c.Norm = Norm{Kind: "rms"}
	if k := f.key("eps"); k != "" {
		c.Norm.Eps = o.real(k)
	}
	c.NormWeight = true
	n := o.need(f.key("layers"))
	l := Layer{Heads: o.num(f.key("heads")), FFN: o.num(f.key("ffn"))}
	if l.KVHeads = l.Heads; f.key("kv_heads") != "" && o.has(f.key("kv_heads")) {
		l.KVHeads = o.num(f.key("kv_heads"))
	}
	if o.has(f.key("head_dim")) {
		l.HeadDim = o.num(f.key("head_dim"))
	} else if l.Heads > 0 {
		l.HeadDim = c.Hidden / l.Heads
		if c.Hidden%l.Heads != 0 {
			o.fail(ErrInvalid, f.key("heads"), "%d heads do not divide the hidden size %d", l.Heads, c.Hidden)
		}
	}
	if k := f.key("act"); k != "" && o.has(k) {
		l.Act = o.activation(k)
	}
	if k := f.key("heads"); k != "" && (l.Heads < 1 || int64(l.Heads) > limits.Heads) { // before slopes are made of it
		o.fail(ErrInvalid, k, "%d attention heads, must be 1 to %d", l.Heads, limits.Heads)
	}
	if o.err == nil && (n < 1 || int64(n) > maxLayers()) {
		class := ErrTooLarge
		if n < 1 {
			class = ErrInvalid
		}
		o.fail(class, f.key("layers"), "is %d, must be 1 to %d", n, maxLayers())
	}
	if o.err != nil {
		return nil, o.err
	}
	c.Layers = make([]Layer, n)
	for i := range c.Layers {
		c.Layers[i] = l
	}
	if f.Read != nil {
		f.Read(c, o)
	}
	if o.err != nil {
		return nil, o.err
	}
	return c, c.check(o.file)
}

// classes says what architectures and the other keys around the sizes say, where that matters: a class that is no language
// model is an error, code and types that are ignored are worth a warning.
func (o *object) classes() {
	names := o.texts("architectures")
	if len(names) > 1 {
		o.fail(ErrInvalid, "architectures", "names %d classes, must name one", len(names))
	}
	for _, n := range names {
		model := false
		for _, part := range []string{"CausalLM", "LMHead", "LMModel", "ConditionalGeneration"} {
			model = model || strings.Contains(n, part)
		}
		if !model {
			o.fail(ErrUnsupported, "architectures", "is %q, which is no language model with a head", clip(n))
		}
	}
	if o.has("auto_map") {
		o.warn("%s: comes with code of its own (auto_map), which is never run: the model is computed as %s", o.file, o.text("model_type"))
	}
	for _, key := range []string{"torch_dtype", "dtype"} {
		switch t := o.text(key); t {
		case "", "float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2", "auto":
		default:
			o.warn("%s: %s %q is not known; the tensors say what they are", o.file, key, clip(t))
		}
	}
}

// each changes every layer.
func (c *Config) each(f func(i int, l *Layer)) {
	for i := range c.Layers {
		f(i, &c.Layers[i])
	}
}

// activation reads the name of an activation.
func (o *object) activation(key string) Activation {
	s := o.text(key)
	switch s {
	case "silu", "swish":
		return SiLU
	case "gelu", "gelu_python":
		return GELU
	case "gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate", "gelu_tanh":
		return GELUTanh
	case "quick_gelu":
		return QuickGELU
	case "relu":
		return ReLU
	case "relu2":
		return ReLUSquared
	}
	o.fail(ErrUnsupported, key, "activation %q is not known", clip(s))
	return ""
}

// NewConfig makes the configuration of a new model of a family from config.json keys and values; what is not given takes
// the family's defaults.
func NewConfig(family string, values map[string]any) (*Config, error) {
	f := families[family]
	if f == nil {
		return nil, fmt.Errorf("unknown family %q (known: %s)", family, strings.Join(Families(), ", "))
	}
	o := &object{file: "config.json", vals: map[string]json.RawMessage{}}
	o.set("architectures", []string{f.Class})
	o.set("model_type", f.Types[0])
	for _, k := range sortedKeys(values) {
		o.set(k, values[k])
	}
	o.set("torch_dtype", "float32")
	return f.read(o)
}
