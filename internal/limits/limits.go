// Package limits holds every limit that pare puts on foreign input, each with its reason, and the
// one place where sizes read from files are multiplied and added.
//
// A limit is a variable so that a user who really has a larger file can raise it by name
// (`--limit gguf_array=1e9`); nothing in pare raises one silently.
package limits

import (
	"fmt"
	"math"
	"sort"
)

// Limits on foreign input. Sizes are bytes unless the name says otherwise.
var (
	SafetensorsHeader  int64 = 100_000_000 // as the reference reader; read in 1 MiB steps, never allocated on a claim
	SafetensorsTensors int64 = 262_144     // a 1T-parameter mixture of experts has about 100k
	TensorName         int64 = 1024        // longest name met in the wild is under 200
	TensorRank         int64 = 8           // the reference containers stop at 4-8

	Pickle int64 = 64 << 20 // data.pkl of a torch archive: about 200 bytes a tensor

	ShardIndex int64 = 32 << 20 // 262144 tensors x 128 bytes
	Shards     int64 = 1024     // 1024 x 5 GB is beyond every published model

	Imatrix int64 = 1 << 30 // importance matrix: four bytes a channel; a mixture of 256 experts has 700 MB

	GGUFPairs     int64 = 65_536     // metadata pairs; real files have under 100
	GGUFTensors   int64 = 262_144    // as safetensors
	GGUFKey       int64 = 65_535     // format specification
	GGUFString    int64 = 16 << 20   // chat templates are under 100 KiB
	GGUFArray     int64 = 64 << 20   // elements; and count x least size must fit the bytes left
	GGUFAlignment int64 = 1 << 20    // powers of two from 8
	GGUFDims      int64 = 4          // ggml tensors have at most four dimensions
	GGUFName      int64 = 64         // ggml stores names in 64 bytes
	Config        int64 = 1 << 20    // config.json
	Layers        int64 = 1024       // deepest published model: 126
	Hidden        int64 = 65_536     // widest published model: 18432
	Heads         int64 = 1024       // attention heads of one layer
	Vocab         int64 = 4_194_304  // largest published vocabulary: 262k
	Context       int64 = 16_777_216 // largest published context: 10M
	Experts       int64 = 4096       // experts of one layer

	Tokenizer   int64 = 128 << 20 // tokenizer.json; the largest published is 33 MB
	Token       int64 = 64 << 10  // one vocabulary entry
	Merges      int64 = 4_194_304 // one per vocabulary entry at most
	AddedTokens int64 = 65_536    // added tokens
	Text        int64 = 16 << 20  // one text given to the tokenizer at once

	Template       int64 = 1 << 20   // chat template source
	TemplateFuel   int64 = 1_000_000 // interpreter steps of one rendering
	TemplateRange  int64 = 100_000   // range() of a template
	TemplateOutput int64 = 4 << 20   // rendered conversation
	TemplateDepth  int64 = 64        // nested blocks, expressions and macros

	Recipe       int64 = 1 << 20 // recipe.yaml
	RecipeDepth  int64 = 32      // nesting of a recipe
	RecipeStages int64 = 256     // stages of a recipe

	EvalLine    int64 = 1 << 20 // one JSON line of a task
	EvalChoices int64 = 64      // choices of one multiple-choice item
	EvalIDs     int64 = 1 << 28 // file of token ids; about 40 million of them
)

// byName lists the limits a user may raise with --limit.
var byName = map[string]*int64{
	"safetensors_header": &SafetensorsHeader, "safetensors_tensors": &SafetensorsTensors,
	"pickle": &Pickle, "tensor_name": &TensorName, "shard_index": &ShardIndex, "shards": &Shards,
	"gguf_pairs": &GGUFPairs, "gguf_tensors": &GGUFTensors, "gguf_string": &GGUFString, "gguf_array": &GGUFArray,
	"config": &Config, "layers": &Layers, "hidden": &Hidden, "heads": &Heads, "vocab": &Vocab,
	"context": &Context, "experts": &Experts,
	"tokenizer": &Tokenizer, "token": &Token, "merges": &Merges, "added_tokens": &AddedTokens, "text": &Text,
	"template": &Template, "template_fuel": &TemplateFuel, "template_output": &TemplateOutput,
	"recipe": &Recipe, "recipe_stages": &RecipeStages, "eval_line": &EvalLine, "eval_choices": &EvalChoices, "eval_ids": &EvalIDs,
}

// Names returns the names that Raise knows, sorted.
func Names() []string {
	names := make([]string, 0, len(byName))
	for n := range byName {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Raise sets the limit called name to value. Limits only go up: a value below the built-in one is an error,
// as is an unknown name.
func Raise(name string, value int64) error {
	p, ok := byName[name]
	if !ok {
		return fmt.Errorf("unknown limit %q (known: %v)", name, Names())
	}
	if value < *p {
		return fmt.Errorf("limit %s is %d and can only be raised, not set to %d", name, *p, value)
	}
	*p = value
	return nil
}

// Product multiplies sizes read from a file. It returns an error when a factor is negative or the product
// does not fit an int64, so that no caller computes with a wrapped size.
func Product(factors ...int64) (int64, error) {
	p := int64(1)
	for _, f := range factors {
		if f < 0 {
			return 0, fmt.Errorf("size %d is negative", f)
		}
		if f != 0 && p > math.MaxInt64/f {
			return 0, fmt.Errorf("size product of %v overflows 63 bits", factors)
		}
		p *= f
	}
	return p, nil
}

// Sum adds sizes read from a file with the same promises as Product.
func Sum(terms ...int64) (int64, error) {
	s := int64(0)
	for _, t := range terms {
		if t < 0 {
			return 0, fmt.Errorf("size %d is negative", t)
		}
		if s > math.MaxInt64-t {
			return 0, fmt.Errorf("size sum of %v overflows 63 bits", terms)
		}
		s += t
	}
	return s, nil
}
