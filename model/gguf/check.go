package gguf

import (
	"fmt"
	"slices"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// Check returns an error when the metadata contradicts itself or is beyond what a decoder-only model can be: architecture,
// numbers of layers and heads, rope scaling, and the vocabulary's arrays. It knows key names, not architectures: whether
// the named one is supported is for others to say.
func (m *Metadata) Check() error {
	arch, err := m.String("general.architecture")
	if err != nil {
		return err
	}
	if arch == "" {
		return m.errorf("general.architecture", "is empty")
	}
	for _, check := range []func(string) error{m.checkSizes, m.checkHeads, m.checkRope, m.checkVocabulary} {
		if err := check(arch); err != nil {
			return err
		}
	}
	return nil
}

// bounded returns the integer of key, which must lie in [least,most].
func (m *Metadata) bounded(key string, least, most int64) (int64, error) {
	v, err := m.Uint(key)
	if err != nil {
		return 0, err
	}
	if v > uint64(most) {
		return 0, tensor.Errorf(tensor.ErrTooLarge, m.file, fmt.Sprintf("key %q", key), "is %d, the limit is %d", v, most)
	}
	if int64(v) < least {
		return 0, m.errorf(key, "is %d, want at least %d", v, least)
	}
	return int64(v), nil
}

func (m *Metadata) checkSizes(arch string) error {
	if _, err := m.bounded(arch+".block_count", 1, limits.Layers); err != nil {
		return err
	}
	if _, err := m.bounded(arch+".embedding_length", 1, limits.Hidden); err != nil {
		return err
	}
	if key := arch + ".context_length"; m.Has(key) {
		if _, err := m.bounded(key, 1, limits.Context); err != nil {
			return err
		}
	}
	return nil
}

// checkHeads looks at head counts that are one number for all layers. Recurrent models have none; a list gives each layer
// its own, and a layer without attention 0.
func (m *Metadata) checkHeads(arch string) error {
	key, kvKey := arch+".attention.head_count", arch+".attention.head_count_kv"
	if v, ok := m.Get(key); !ok || isList(v) {
		return nil
	}
	heads, err := m.bounded(key, 1, limits.Heads)
	if err != nil {
		return err
	}
	if v, ok := m.Get(kvKey); ok && !isList(v) {
		kv, err := m.bounded(kvKey, 1, heads)
		if err != nil {
			return err
		}
		if heads%kv != 0 {
			return m.errorf(kvKey, "is %d, which does not divide the %d heads", kv, heads)
		}
	}
	width, err := m.Uint(arch + ".embedding_length")
	if err == nil && int64(width)%heads != 0 && !m.Has(arch+".attention.key_length") {
		return m.errorf(key, "is %d, which does not divide the embedding_length of %d", heads, width)
	}
	return err
}

func isList(v any) bool {
	_, array, _, _ := typeOf(v)
	return array
}

func (m *Metadata) checkRope(arch string) error {
	key := arch + ".rope.scaling.type"
	if !m.Has(key) {
		return nil
	}
	kind, err := m.String(key)
	if err != nil {
		return err
	}
	if known := []string{"none", "linear", "yarn", "longrope"}; !slices.Contains(known, kind) {
		return tensor.Errorf(tensor.ErrUnsupported, m.file, fmt.Sprintf("key %q", key), "is %.40q, want one of %v", kind, known)
	}
	return nil
}

func (m *Metadata) checkVocabulary(string) error {
	const prefix = "tokenizer.ggml."
	if !m.Has(prefix + "tokens") {
		return nil
	}
	tokens, err := m.Strings(prefix + "tokens")
	if err != nil {
		return err
	}
	n := len(tokens)
	if int64(n) > limits.Vocab {
		return tensor.Errorf(tensor.ErrTooLarge, m.file, fmt.Sprintf("key %q", prefix+"tokens"), "has %d tokens, the limit is %d", n, limits.Vocab)
	}
	if key := prefix + "scores"; m.Has(key) {
		scores, err := m.Floats(key)
		if err != nil {
			return err
		}
		if len(scores) != n {
			return m.errorf(key, "has %d elements for %d tokens", len(scores), n)
		}
	}
	if key := prefix + "token_type"; m.Has(key) {
		types, err := m.Ints(key)
		if err != nil {
			return err
		}
		if len(types) != n {
			return m.errorf(key, "has %d elements for %d tokens", len(types), n)
		}
	}
	for _, name := range []string{"bos", "eos"} { // of the others, files in use hold wrong ones, which nobody reads
		key := prefix + name + "_token_id"
		if !m.Has(key) {
			continue
		}
		id, err := m.Uint(key)
		if err != nil {
			return err
		}
		if id >= uint64(n) {
			return m.errorf(key, "is %d, the vocabulary has %d tokens", id, n)
		}
	}
	return nil
}
