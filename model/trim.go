package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/parelm/pare/model/tokenizer"
)

// idKeys are the keys of config.json and generation_config.json that hold token ids: one, a list, or a list of lists.
var idKeys = []string{"bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "mask_token_id",
	"decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids"}

// KeepTokens returns the model with a smaller vocabulary: the wanted ids, those its tokenizer needs to make them and to
// encode any other text, and all special tokens. Rows of the embedding and of the head that no token owns go as well.
// Ids within the tokenizer's files, config.json and generation_config.json are changed to the new ones. old gives the
// former id of every new one, in rising order.
func (m *Model) KeepTokens(want []int32) (small *Model, old []int32, err error) {
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, nil, err
	}
	files, err := m.side.all()
	if err != nil {
		return nil, nil, err
	}
	hf := m.Config.hf.clone()
	gen := (*object)(nil)
	if data := files["generation_config.json"]; data != nil {
		if gen, err = parseObject("generation_config.json", data); err != nil {
			return nil, nil, err
		}
	}
	want = slices.Clone(want)
	for _, o := range []*object{hf, gen} {
		o.eachID(func(id int32) int32 {
			if id >= 0 && int(id) < tok.VocabSize() {
				want = append(want, id)
			}
			return id
		})
	}
	trimmed, old, err := tok.Trim(want)
	if err != nil {
		return nil, nil, err
	}
	axis := m.Graph.Axis("vocab")
	rows := make([]int, len(old))
	to := map[int32]int32{}
	for i, id := range old {
		rows[i], to[id] = int(id), int32(i)
	}
	if small, err = m.Shrink(Selection{axis.Name: rows}); err != nil {
		return nil, nil, err
	}
	move := func(id int32) int32 {
		if n, ok := to[id]; ok {
			return n
		}
		return -1 // an id that no token had
	}
	hf.eachID(move)
	small.Config.hf = hf
	if gen != nil {
		gen.eachID(move)
		files["generation_config.json"] = gen.bytes()
	}
	if err := replaceTokenizer(files, trimmed, to); err != nil {
		return nil, nil, err
	}
	small.side = side{files: files, names: sortedKeys(files), tok: trimmed}
	return small, old, nil
}

// eachID gives every token id that the object holds to change and keeps what that returns; negative ids stay as they are.
func (o *object) eachID(change func(id int32) int32) {
	if o == nil {
		return
	}
	for _, k := range idKeys {
		var one int32
		var many []int32
		var lists [][]int32
		all := func(ids []int32) {
			for i, id := range ids {
				if id >= 0 {
					ids[i] = change(id)
				}
			}
		}
		switch raw := o.vals[k]; {
		case raw == nil || string(raw) == "null":
		case json.Unmarshal(raw, &one) == nil:
			if one >= 0 {
				o.set(k, change(one))
			}
		case json.Unmarshal(raw, &many) == nil:
			all(many)
			o.set(k, many)
		case json.Unmarshal(raw, &lists) == nil:
			for _, ids := range lists {
				all(ids)
			}
			o.set(k, lists)
		}
	}
}

// replaceTokenizer puts the files of another tokenizer in the place of those that are there. What tokenizer_config.json
// says beside the ids stays as it was.
func replaceTokenizer(files map[string][]byte, t *tokenizer.Tokenizer, to map[int32]int32) error {
	made, err := t.Files()
	if err != nil {
		return err
	}
	conf := files["tokenizer_config.json"]
	if files["tokenizer.json"] == nil {
		conf = nil // its class may be one that reads another file
	}
	for name := range files {
		switch {
		case name == "generation_config.json" || name == "special_tokens_map.json" || strings.HasPrefix(name, "chat_template"),
			strings.HasPrefix(name, "LICENSE"), strings.HasPrefix(name, "NOTICE"):
		default:
			delete(files, name)
		}
	}
	files["tokenizer.json"], files["tokenizer_config.json"] = made["tokenizer.json"], made["tokenizer_config.json"]
	if conf == nil {
		return nil
	}
	o, err := parseObject("tokenizer_config.json", conf)
	if err != nil {
		return err
	}
	if added := o.sub("added_tokens_decoder"); added != nil {
		moved := map[string]json.RawMessage{}
		for _, k := range added.keys {
			var id int32
			if _, err := fmt.Sscan(k, &id); err != nil {
				return fmt.Errorf("tokenizer_config.json: added_tokens_decoder: %q is no token id", k)
			}
			if n, ok := to[id]; ok {
				moved[fmt.Sprint(n)] = added.vals[k]
			}
		}
		o.set("added_tokens_decoder", moved)
	}
	files["tokenizer_config.json"] = o.bytes()
	return nil
}
