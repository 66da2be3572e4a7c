package model

import (
	"encoding/json"

	"github.com/parelm/pare/model/tensor"
)

// Stored returns the tensors under the names and in the shapes that a Hugging Face checkpoint of the model has, or, for
// a model that came from a GGUF file, those of that file.
func (m *Model) Stored() ([]*tensor.Tensor, error) {
	if m.side.meta != nil {
		return m.stored(ggufSlots(m.Graph, m.Config.Family))
	}
	return m.stored(hfSlots(m.Graph, m.Config.Family))
}

// OpenConfig returns a model of random float32 weights in the shapes that a config.json describes: enough to count, to plan
// and to measure speed.
func OpenConfig(file string) (*Model, error) {
	c, err := readConfig(file)
	if err != nil {
		return nil, err
	}
	m := Random(c, 0)
	m.Path, m.Warnings = file, c.hf.warnings
	return m, nil
}

// EOS returns the ids that end a text: those of generation_config.json and config.json, where the checkpoint has them,
// and the tokenizer's.
func (m *Model) EOS() []int32 {
	var ids []int32
	add := func(raw json.RawMessage) {
		var one int32
		var many []int32
		if json.Unmarshal(raw, &one) == nil && len(raw) > 0 {
			many = []int32{one}
		} else if json.Unmarshal(raw, &many) != nil {
			return
		}
		for _, id := range many {
			known := id < 0
			for _, have := range ids {
				known = known || have == id
			}
			if !known {
				ids = append(ids, id)
			}
		}
	}
	if m.side.onDisk() {
		if data, err := m.side.read("generation_config.json"); err == nil {
			if o, err := parseObject("generation_config.json", data); err == nil {
				add(o.raw("eos_token_id"))
			}
		}
	}
	add(m.Config.hf.raw("eos_token_id"))
	if t, err := m.side.tokenizer(); err == nil && t.EOS() >= 0 {
		raw, _ := json.Marshal(t.EOS())
		add(raw)
	}
	return ids
}

// Dtype returns the format that config.json says the weights have: f32, f16 or bf16; f32 where it says nothing.
func (c *Config) Dtype() string {
	for _, key := range []string{"dtype", "torch_dtype"} {
		var name string
		if json.Unmarshal(c.hf.raw(key), &name) == nil {
			for format, torch := range dtypes {
				if torch == name {
					return format
				}
			}
		}
	}
	return "f32"
}
