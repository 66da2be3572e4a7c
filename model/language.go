package model

import (
	"strings"

	"github.com/parelm/pare/model/tensor"
)

// Checkpoints that see pictures hold a language model of a known family beside what turns pictures into tokens. Where only text comes in,
// that model is all that computes; it is read, and written, as a checkpoint of its own.

// seeing lists the model_type values whose language models work without the rest.
var seeing = map[string]bool{"gemma3": true, "mistral3": true, "llava": true, "llava_next": true, "qwen2_vl": true, "qwen2_5_vl": true, "qwen3_vl": true,
	"idefics3": true, "smolvlm": true, "qwen3_5": true, "qwen3_5_moe": true}

// languages says which family's model_type the language models have that are called otherwise there. Their rotary embedding has positions of
// three axes, which are one and the same for text.
var languages = map[string]string{"qwen2_vl": "qwen2", "qwen2_vl_text": "qwen2", "qwen2_5_vl": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3"}

// language returns the config.json of the language model in o, which is of that model_type: o itself where it is nothing else.
func (o *object) language(kind string) (*object, error) {
	if !seeing[kind] {
		return o, nil
	}
	text := o.sub("text_config")
	switch {
	case o.err != nil:
		return nil, o.err
	case text != nil:
		for _, key := range []string{"bos_token_id", "eos_token_id", "pad_token_id", "torch_dtype", "dtype", "tie_word_embeddings", "quantization_config"} {
			if r := o.raw(key); r != nil && !text.has(key) {
				text.set(key, r)
			}
		}
	case languages[kind] != "" && o.has("vision_config"): // the first Qwen files say all at the top
		text = o.clone()
		text.delete("vision_config")
		text.set("model_type", kind)
	default:
		return o, nil // refused by its name
	}
	name := text.text("model_type")
	if text.err != nil {
		return nil, text.err
	}
	if t := languages[name]; t != "" {
		name = t
	}
	f := byType[name]
	if f == nil {
		return nil, tensor.Errorf(ErrUnsupported, o.file, `key "text_config"`, "the language model of a %s is %q, which is not computed%s", kind, clip(name), refusal(name))
	}
	text.set("model_type", name)
	text.set("architectures", []string{f.Class})
	for _, key := range []string{"rope_scaling", "rope_parameters"} {
		if r := text.sub(key); r != nil && r.has("mrope_section") {
			r.delete("mrope_section")
			r.delete("mrope_interleaved")
			for _, kind := range []string{"type", "rope_type"} {
				if r.text(kind) == "mrope" {
					r.set(kind, "default")
				}
			}
			text.set(key, jsonOf(r))
		}
	}
	if text.err != nil {
		return nil, text.err
	}
	text.within = kind
	return text, nil
}

// within returns the names that a tensor of a language model may have among those of the model that sees pictures.
func within(name string) []string {
	names := []string{"language_model." + name}
	if rest, ok := strings.CutPrefix(name, "model."); ok {
		names = append(names, "model.language_model."+rest, "model.text_model."+rest)
	}
	return names
}
