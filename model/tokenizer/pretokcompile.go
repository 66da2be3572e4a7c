package tokenizer

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// compileSplitters appends the steps of a pre_tokenizer component.
func compileSplitters(raw []byte, out []splitter) ([]splitter, error) {
	if isNull(raw) {
		return out, nil
	}
	kind, err := typeOf(raw)
	if err != nil {
		return nil, err
	}
	var f struct {
		Pretokenizers  []json.RawMessage
		Pattern        *splitPattern
		Behavior       *string
		Invert         bool
		AddPrefixSpace *bool   `json:"add_prefix_space"`
		UseRegex       *bool   `json:"use_regex"`
		Individual     bool    `json:"individual_digits"`
		Delimiter      string  `json:"delimiter"`
		Replacement    string  `json:"replacement"`
		PrependScheme  *string `json:"prepend_scheme"`
		Split          *bool
		Length         *int
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("%s: %v", kind, err)
	}
	b := isolated
	if f.Behavior != nil {
		var ok bool
		if b, ok = behaviors[*f.Behavior]; !ok {
			return nil, fmt.Errorf("%s: behavior %q is unknown", kind, *f.Behavior)
		}
	}
	add := func(steps ...splitter) ([]splitter, error) { return append(out, steps...), nil }
	switch kind {
	case "Sequence":
		for _, r := range f.Pretokenizers {
			if out, err = compileSplitters(r, out); err != nil {
				return nil, err
			}
		}
		return out, nil
	case "Split":
		sc, err := f.Pattern.compile()
		if err != nil {
			return nil, err
		}
		return add(&patternSplit{sc, b, f.Invert})
	case "ByteLevel":
		step := &byteLevel{prefix: f.AddPrefixSpace == nil || *f.AddPrefixSpace}
		if f.UseRegex != nil && !*f.UseRegex {
			return add(step)
		}
		return addByteLevelRegex(out, step)
	case "Metaspace":
		m, err := newMetaspace(f.Replacement, f.AddPrefixSpace, f.PrependScheme)
		if err != nil {
			return nil, err
		}
		m.split_ = f.Split == nil || *f.Split
		return add(m)
	case "Whitespace":
		sc, err := wordsAndPunctuation()
		return append(out, &patternSplit{sc, removed, true}), err
	case "WhitespaceSplit":
		return add(&patternSplit{setScanner{spaceSet()}, removed, false})
	case "BertPreTokenizer":
		return add(&patternSplit{setScanner{spaceSet()}, removed, false},
			&patternSplit{setScanner{punctuationSet()}, isolated, false})
	case "Punctuation":
		return add(&patternSplit{setScanner{punctuationSet()}, b, false})
	case "Digits":
		if f.Individual {
			return add(&patternSplit{setScanner{numberSet()}, isolated, false})
		}
		return add(&patternSplit{setScanner{numberSet()}, contiguous, false})
	case "Delimiter", "CharDelimiterSplit":
		if utf8.RuneCountInString(f.Delimiter) != 1 {
			return nil, fmt.Errorf("%s: delimiter %q is not one character", kind, f.Delimiter)
		}
		return add(&patternSplit{stringScanner(f.Delimiter), removed, false})
	case "UnicodeScripts":
		return add(scriptSplit{})
	case "FixedLength":
		n := 5
		if f.Length != nil {
			n = *f.Length
		}
		if n < 1 {
			return nil, fmt.Errorf("%s: length %d is not positive", kind, n)
		}
		return add(fixedLength(n))
	}
	return nil, fmt.Errorf("pre-tokenizer %q is unknown", kind)
}

// addByteLevelRegex puts GPT-2's pattern between the leading space and the mapping of bytes.
func addByteLevelRegex(out []splitter, step *byteLevel) ([]splitter, error) {
	sc, err := compileRegex(patternGPT2)
	if err != nil {
		return nil, err
	}
	if step.prefix {
		out = append(out, &byteLevel{prefix: true, raw: true})
		step.prefix = false
	}
	return append(out, &patternSplit{sc, isolated, false}, step), nil
}

// newMetaspace reads the fields that the pre-tokenizer and the decoder share.
func newMetaspace(symbol string, addPrefix *bool, scheme *string) (*metaspace, error) {
	if utf8.RuneCountInString(symbol) != 1 {
		return nil, fmt.Errorf("Metaspace: replacement %q is not one character", symbol)
	}
	m := &metaspace{symbol: symbol, scheme: "always"}
	if scheme != nil {
		m.scheme = *scheme
	}
	switch m.scheme {
	case "always", "first", "never":
	default:
		return nil, fmt.Errorf("Metaspace: prepend_scheme %q is unknown", m.scheme)
	}
	if addPrefix != nil && !*addPrefix {
		if scheme != nil && m.scheme != "never" {
			return nil, fmt.Errorf("Metaspace: add_prefix_space is false, but prepend_scheme is %q", m.scheme)
		}
		m.scheme = "never"
	}
	return m, nil
}

// wordsAndPunctuation is \w+|[^\w\s]+ with the words of Rust's regex crate, which counts joiners in.
func wordsAndPunctuation() (scanner, error) {
	run := func(set []runeRange) *reNode {
		return &reNode{op: opRep, min: 1, max: -1, subs: []*reNode{{op: opSet, set: set}}}
	}
	return compileTree(&reNode{op: opAlt, subs: []*reNode{
		run(wordRanges()), run(complement(union(wordRanges(), spaceRanges())))}})
}
