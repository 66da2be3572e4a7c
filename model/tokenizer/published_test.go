package tokenizer

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// shapes are the components of published tokenizer.json files around a vocabulary: what a file is made of when it is not one of
// those in the shared folder. Vocabularies are small ones: bytes as visible runes, or pieces with byte fallback.
var shapes = []struct {
	name                             string
	normalizer, pre, post, decoder   string
	fallback, ignoreMerges, composes bool // composes: its normalizer changes text
	eats                             bool // a space at the beginning is lost, as in the reference library
}{
	{name: "llama-3", pre: splits(patternLlama3), post: bosTemplate, decoder: byteLevelAll, ignoreMerges: true},
	{name: "qwen-2 and 3", normalizer: `{"type":"NFC"}`, pre: splits(patternQwen2), post: byteLevelNone, decoder: byteLevelNone, composes: true},
	{name: "qwen-3.5", normalizer: `{"type":"NFC"}`, pre: splits(patternQwen35), post: byteLevelNone, decoder: byteLevelNone, composes: true},
	{name: "gpt-4o and llama-4", pre: splits(patternO200k), post: byteLevelAll, decoder: byteLevelAll, ignoreMerges: true},
	{name: "phi-4", pre: `{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":` + quoted(patternLlama3) +
		`},"behavior":"Removed","invert":true},` + byteLevelNone + `]}`, post: byteLevelAll, decoder: byteLevelAll},
	{name: "mistral tekken", pre: splits(patternTekken), post: bosTemplate, decoder: byteLevelAll, ignoreMerges: true},
	{name: "deepseek-v3", pre: splits(`\p{N}{1,3}`, patternDeepSeek3CJK, patternDeepSeek3), post: bosTemplate, decoder: byteLevelAll},
	{name: "deepseek-coder", pre: `{"type":"Sequence","pretokenizers":[` + split1("[\r\n]") + `,` + split1(`\s?\p{L}+`) + `,` + split1(`\s?\p{P}+`) + `,` +
		split1(patternDeepSeekCJK) + `,{"type":"Digits","individual_digits":true},` + byteLevelNone + `]}`, decoder: byteLevelAll},
	{name: "falcon", pre: `{"type":"Sequence","pretokenizers":[{"type":"Punctuation","behavior":"Contiguous"},` + byteLevelRegex +
		`,{"type":"Digits","individual_digits":false},` + split1(`[0-9][0-9][0-9]`) + `]}`, decoder: byteLevelAll},
	{name: "starcoder, smollm, granite", pre: `{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},` + byteLevelRegex + `]}`, decoder: byteLevelAll},
	{name: "command-r", normalizer: `{"type":"NFC"}`, pre: `{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},` +
		byteLevelRegex + `]}`, post: bosTemplate, decoder: byteLevelAll, composes: true},
	{name: "gpt-neox, olmo", normalizer: `{"type":"NFC"}`, pre: byteLevelRegex, post: byteLevelAll, decoder: byteLevelAll, composes: true},
	{name: "kimi-k2", pre: splits(patternKimi), decoder: byteLevelAll},
	{name: "gemma", normalizer: `{"type":"Replace","pattern":{"String":" "},"content":"▁"}`,
		pre:     `{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":false}`,
		decoder: `{"type":"Sequence","decoders":[` + fallbackDecoder + `]}`, post: bosTemplate, fallback: true},
	{name: "llama-2, mistral-7b, phi-3", normalizer: `{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}`,
		decoder: `{"type":"Sequence","decoders":[` + fallbackDecoder + `,{"type":"Strip","content":" ","start":1,"stop":0}]}`, post: bosTemplate, fallback: true},
	{name: "llama-2 of newer files", pre: `{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false}`,
		decoder: `{"type":"Sequence","decoders":[` + fallbackDecoder + `,{"type":"Strip","content":" ","start":1,"stop":0}]}`, post: bosTemplate, fallback: true, eats: true},
}

const (
	byteLevelAll    = `{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`
	byteLevelNone   = `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":false}`
	byteLevelRegex  = `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`
	fallbackDecoder = `{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}`
	bosTemplate     = `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],` +
		`"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}}`
)

func quoted(s string) string { return string(mustJSON(s)) }

func split1(pattern string) string {
	return `{"type":"Split","pattern":{"Regex":` + quoted(pattern) + `},"behavior":"Isolated","invert":false}`
}

// splits is a sequence of patterns and the step that writes bytes as runes.
func splits(patterns ...string) string {
	var steps []string
	for _, p := range patterns {
		steps = append(steps, split1(p))
	}
	return `{"type":"Sequence","pretokenizers":[` + strings.Join(append(steps, byteLevelNone), ",") + `]}`
}

// shaped puts the components around a small vocabulary.
func shaped(t testing.TB, i int) *Tokenizer {
	t.Helper()
	s := &shapes[i]
	vocab, merges := map[string]int{"<s>": 0}, [][2]string{}
	piece := func(p string) {
		if _, ok := vocab[p]; !ok {
			vocab[p] = len(vocab)
		}
	}
	merge := func(a, b string) {
		piece(a)
		piece(b)
		piece(a + b)
		merges = append(merges, [2]string{a, b})
	}
	for b := range 256 {
		if s.fallback {
			piece(byteName(byte(b)))
		} else {
			piece(string(runeOfByte[b]))
		}
	}
	space := map[bool]string{true: "▁", false: mapBytes(" ")}[s.fallback]
	for _, m := range [][2]string{{"t", "h"}, {"th", "e"}, {"a", "a"}, {"aa", "aa"}, {space, "the"}, {space, space}, {"i", "n"}, {"1", "2"}} {
		merge(m[0], m[1])
	}
	for _, r := range "bcdfghijklmnopqrsuvwxyzABC034.,!é東" {
		if s.fallback {
			piece(string(r))
		}
	}
	model := obj{"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": s.fallback, "fuse_unk": s.fallback, "ignore_merges": s.ignoreMerges}
	part := func(text string) json.RawMessage {
		if text == "" {
			return json.RawMessage("null")
		}
		return json.RawMessage(text)
	}
	tk, err := FromJSON("tokenizer.json", mustJSON(obj{"version": "1.0", "added_tokens": []any{obj{"id": 0, "content": "<s>", "special": true}},
		"normalizer": part(s.normalizer), "pre_tokenizer": part(s.pre), "post_processor": part(s.post), "decoder": part(s.decoder), "model": model}))
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	return tk
}

// hostile makes texts that are hard on scanners and on merging.
func hostile(n int) map[string]string {
	random := make([]byte, n)
	x := uint32(1)
	for i := range random {
		x = x*1664525 + 1013904223
		random[i] = byte(x >> 24)
	}
	return map[string]string{"a letter": strings.Repeat("a", n), "spaces": strings.Repeat(" ", n), "newlines": strings.Repeat("\n", n),
		"marks": "e" + strings.Repeat("\u0301", n/2), "digits": strings.Repeat("7", n), "quotes": strings.Repeat("'", n), "Chinese": strings.Repeat("東", n/3),
		"capitals": strings.Repeat("Ab", n/2), "spaces and ends": strings.Repeat(" \r\n", n/3), "bytes": string(random)}
}

// TestPublishedShapes reads each shape, and has every text come back whole and in streams that never give half a rune.
func TestPublishedShapes(t *testing.T) {
	texts := append([]string{}, readGolden(t).Texts...)
	for _, text := range hostile(3000) {
		texts = append(texts, text)
	}
	for i := range shapes {
		tk := shaped(t, i)
		for _, text := range texts {
			want := validUTF8(text)
			if shapes[i].composes {
				var err error
				if want, err = tk.norm.normalize(want); err != nil {
					t.Fatal(err)
				}
			}
			if shapes[i].fallback {
				want = strings.ReplaceAll(want, "▁", " ")
			}
			if shapes[i].eats {
				want = strings.TrimPrefix(want, " ")
			}
			ids := mustEncode(t, tk, text, Options{AddSpecial: true})
			if tk.PrependsBOS() != (shapes[i].post == bosTemplate) || tk.PrependsBOS() && ids[0] != 0 {
				t.Fatalf("%s: %q begins with %v", shapes[i].name, clip(text, 40), ids[:min(len(ids), 3)])
			}
			if got := tk.Decode(ids, true); got != want {
				t.Errorf("%s: %q decodes to %q", shapes[i].name, clip(text, 60), clip(got, 60))
			}
			s, whole := tk.NewStream(true), true
			var b strings.Builder
			for _, id := range ids {
				p := s.Push(id)
				whole = whole && utf8.ValidString(p) && (strings.Contains(want, "\ufffd") || !strings.Contains(p, "\ufffd"))
				b.WriteString(p)
			}
			if b.WriteString(s.Flush()); !whole || b.String() != want {
				t.Errorf("%s: %q streams as %q", shapes[i].name, clip(text, 60), clip(b.String(), 60))
			}
		}
	}
}
