package hub

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// What a repository holds beside a model is none of our business: pictures, training state, the same weights for other
// programs. These functions choose what a model needs.

// small reports whether a file at the top of a repository belongs to a model: configuration, tokenizer, chat template,
// licence, tables of shards.
func small(name string) bool {
	if strings.Contains(name, "/") {
		return false
	}
	switch name {
	case "config.json", "generation_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
		"merges.txt", "spiece.model", "sentencepiece.bpe.model", safetensorsIndex, torchIndex:
		return true
	}
	for _, prefix := range []string{"tokenizer", "chat_template", "LICENSE", "NOTICE"} {
		if strings.HasPrefix(name, prefix) {
			return !strings.HasSuffix(name, ".py")
		}
	}
	return strings.HasSuffix(name, ".tiktoken")
}

const (
	safetensorsIndex = "model.safetensors.index.json"
	torchIndex       = "pytorch_model.bin.index.json"
)

// weights chooses the files with weights among all: safetensors, else PyTorch archives, else one GGUF model. Where an index
// names them, index holds it.
func weights(names []string, index map[string][]string) ([]string, error) {
	for _, kind := range []struct{ index, single string }{{safetensorsIndex, "model.safetensors"}, {torchIndex, "pytorch_model.bin"}} {
		if shards := index[kind.index]; shards != nil {
			for _, s := range shards {
				if !slices.Contains(names, s) {
					return nil, fmt.Errorf("%s names %s, which the repository does not have", kind.index, clip(s))
				}
			}
			return shards, nil
		}
		if slices.Contains(names, kind.single) {
			return []string{kind.single}, nil
		}
	}
	var found []string
	for _, n := range names {
		if strings.EqualFold(path.Ext(n), ".gguf") {
			if no := partNumber(n); no == "" || no == "00001" {
				found = append(found, n)
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("the repository holds no weights that pare reads: no safetensors, PyTorch or GGUF files")
	case 1:
		return parts(names, found[0]), nil
	}
	slices.Sort(found)
	more := ""
	if len(found) > 20 {
		more = fmt.Sprintf(" and %d more", len(found)-20)
		found = found[:20]
	}
	return nil, fmt.Errorf("the repository holds several GGUF models; name one behind the address: /%s%s", strings.Join(found, ", /"), more)
}

var splitFile = regexp.MustCompile(`-(\d{5})-of-(\d{5})\.gguf$`)

// partNumber returns the number of a part of a split GGUF file, or "".
func partNumber(name string) string {
	if m := splitFile.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return ""
}

// parts returns the parts of a GGUF model that begins with a file.
func parts(names []string, name string) []string {
	m := splitFile.FindStringSubmatchIndex(name)
	if m == nil {
		return []string{name}
	}
	out := []string{name}
	for _, n := range names {
		if n != name && len(n) == len(name) && n[:m[2]] == name[:m[2]] && n[m[3]:] == name[m[3]:] {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
