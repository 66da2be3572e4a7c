package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// splitKey describes what a pre_tokenizer component does, however it is spelled: two components with the same key cut every text
// alike. ok is false for components that have no description; their key is their JSON.
func splitKey(raw []byte) (key string, ok bool) {
	var steps []string
	ok = appendSplitKey(&steps, raw)
	if !ok {
		return string(canonicalJSON(raw)), false
	}
	return strings.Join(steps, "\n"), true
}

const (
	keyBytes       = "bytes"
	keyDigitRuns   = "numbers"
	keyPunctuation = "punctuation"
)

func appendSplitKey(steps *[]string, raw []byte) bool {
	if isNull(raw) {
		return true
	}
	var f struct {
		Type           string
		Pretokenizers  []json.RawMessage
		Pattern        splitPattern
		Behavior       string
		Invert         bool
		AddPrefixSpace *bool `json:"add_prefix_space"`
		UseRegex       *bool `json:"use_regex"`
		Individual     bool  `json:"individual_digits"`
	}
	if json.Unmarshal(raw, &f) != nil {
		return false
	}
	add := func(s string) bool {
		*steps = append(*steps, s)
		return true
	}
	switch f.Type {
	case "Sequence":
		for _, r := range f.Pretokenizers {
			if !appendSplitKey(steps, r) {
				return false
			}
		}
		return true
	case "Split":
		// Keeping the matches of a pattern is isolating them if nothing lies between, which holds for the patterns of whole words.
		if f.Pattern.Regex == nil || (f.Behavior != "Isolated" || f.Invert) && (f.Behavior != "Removed" || !f.Invert) {
			return false
		}
		k, ok := patternKey(*f.Pattern.Regex)
		return ok && add(k)
	case "ByteLevel":
		if f.AddPrefixSpace == nil || *f.AddPrefixSpace {
			return false
		}
		if f.UseRegex == nil || *f.UseRegex {
			k, _ := patternKey(patternGPT2)
			add(k)
		}
		return add(keyBytes)
	case "Digits":
		if f.Individual {
			k, _ := patternKey(`\p{N}`)
			return add(k)
		}
		return add(keyDigitRuns)
	case "Punctuation":
		return f.Behavior == "Contiguous" && add(keyPunctuation)
	}
	return false
}

// patternKey prints a pattern with its classes as ranges, so that spellings do not matter.
func patternKey(pattern string) (string, bool) {
	if pattern == digitGroupsAtWordEnd || pattern == digitGroupBorders {
		return pattern, true
	}
	n, err := parseRegex(pattern)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	writeKey(&b, simplify(n))
	return b.String(), true
}

// simplify removes differences that do not matter: repetitions of one, and possessive quantifiers, which the known patterns use only
// where nothing could be given back.
func simplify(n *reNode) *reNode {
	out := *n
	out.subs = nil
	for _, s := range n.subs {
		s = simplify(s)
		if s.op == n.op && (n.op == opAlt || n.op == opCat) {
			out.subs = append(out.subs, s.subs...)
		} else {
			out.subs = append(out.subs, s)
		}
	}
	if out.op == opRep {
		out.possessive = false
		if out.min == 1 && out.max == 1 {
			return out.subs[0]
		}
	}
	if out.op == opCat && len(out.subs) > 1 && out.subs[len(out.subs)-1].op == opAlt && n.subs[0].op == opSet && len(out.subs) == 2 {
		// 'x(?:a|b) is 'xa|'xb
		alt := &reNode{op: opAlt}
		for _, s := range out.subs[1].subs {
			alt.subs = append(alt.subs, simplify(&reNode{op: opCat, subs: []*reNode{out.subs[0], s}}))
		}
		return alt
	}
	return &out
}

func writeKey(b *strings.Builder, n *reNode) {
	switch n.op {
	case opSet:
		b.WriteByte('[')
		for _, r := range n.set {
			fmt.Fprintf(b, "%x-%x,", r.lo, r.hi)
		}
		b.WriteByte(']')
	case opCat, opAlt:
		b.WriteByte('(')
		keys := make([]string, len(n.subs))
		for i, s := range n.subs {
			var k strings.Builder
			writeKey(&k, s)
			keys[i] = k.String()
		}
		if n.op == opAlt {
			b.WriteString(strings.Join(sortLiterals(n, keys), "|"))
		} else {
			b.WriteString(strings.Join(keys, ""))
		}
		b.WriteByte(')')
	case opRep:
		writeKey(b, n.subs[0])
		fmt.Fprintf(b, "{%d,%d}", n.min, n.max)
	case opLook:
		fmt.Fprintf(b, "(?%v", n.neg)
		writeKey(b, n.subs[0])
		b.WriteByte(')')
	default:
		fmt.Fprintf(b, "<%d%s>", n.op, n.text)
		for _, s := range n.subs {
			writeKey(b, s)
		}
	}
}

// sortLiterals orders neighbouring alternatives that are plain strings: which of them comes first does not matter as
// long as none is the beginning of another, as among the contractions.
func sortLiterals(n *reNode, keys []string) []string {
	literal := func(s *reNode) bool {
		return s.op == opCat && !slices.ContainsFunc(s.subs, func(x *reNode) bool { return x.op != opSet })
	}
	for i := 0; i < len(keys); {
		j := i
		for j < len(keys) && literal(n.subs[j]) {
			j++
		}
		run := keys[i:j]
		prefixFree := true
		for _, a := range run {
			for _, b := range run {
				prefixFree = prefixFree && (a == b || !strings.HasPrefix(strings.TrimSuffix(b, ")"), strings.TrimSuffix(a, ")")))
			}
		}
		if prefixFree {
			slices.Sort(run)
		}
		i = j + 1
	}
	return keys
}

// canonicalJSON sorts keys and drops white space.
func canonicalJSON(raw []byte) []byte {
	var v any
	if isNull(raw) {
		return nil
	}
	if json.Unmarshal(raw, &v) != nil {
		return raw
	}
	out, err := json.Marshal(v)
	if err != nil {
		return raw
	}
	return out
}
