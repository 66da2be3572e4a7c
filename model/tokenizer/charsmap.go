package tokenizer

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// charsmap is the table of replacements that SentencePiece compiles its normalization rules into: a double-array
// trie (Darts) over UTF-8 bytes whose values point into a block of zero-terminated replacements.
//
//	blob = uint32 size of the trie in bytes, trie (uint32 units), replacements
//
// A unit packs label (bits 0-7), "has a leaf" (8), offset (10-30, shifted by 8 if bit 9 is set); the leaf unit holds a
// value in bits 0-30.
type charsmap struct {
	units []uint32
	text  []byte
}

func newCharsmap(blob []byte) (*charsmap, error) {
	if len(blob) < 4 {
		return nil, fmt.Errorf("precompiled_charsmap: %d bytes are too few", len(blob))
	}
	size := int64(binary.LittleEndian.Uint32(blob))
	if size%4 != 0 || size >= int64(len(blob)-4) {
		return nil, fmt.Errorf("precompiled_charsmap: trie of %d bytes in a table of %d", size, len(blob))
	}
	m := &charsmap{units: make([]uint32, size/4), text: blob[4+size:]}
	for i := range m.units {
		m.units[i] = binary.LittleEndian.Uint32(blob[4+4*i:])
	}
	return m, nil
}

// lookup returns the replacement of a prefix of s and the length of that prefix: the longest one with a rule, or
// the shortest, which is what the reference library takes. ok is false where no prefix has a rule.
func (m *charsmap) lookup(s string, longest bool) (repl []byte, n int, ok bool) {
	if len(m.units) == 0 {
		return nil, 0, false
	}
	offset := func(u uint32) uint32 { return u >> 10 << (u & (1 << 9) >> 6) }
	node := offset(m.units[0])
	for i := 0; i < len(s) && s[i] != 0; i++ {
		node ^= uint32(s[i])
		if uint64(node) >= uint64(len(m.units)) {
			break
		}
		u := m.units[node]
		if u&(1<<31|0xff) != uint32(s[i]) {
			break
		}
		node ^= offset(u)
		if u>>8&1 == 0 {
			continue
		}
		if uint64(node) >= uint64(len(m.units)) {
			break
		}
		if r, found := m.replacement(m.units[node] &^ (1 << 31)); found {
			repl, n, ok = r, i+1, true
			if !longest {
				return repl, n, ok
			}
		}
	}
	return repl, n, ok
}

func (m *charsmap) replacement(at uint32) ([]byte, bool) {
	if uint64(at) >= uint64(len(m.text)) {
		return nil, false
	}
	for i, c := range m.text[at:] {
		if c == 0 {
			return m.text[at : int(at)+i], true
		}
	}
	return m.text[at:], true
}

// graphemeCharsmap applies a charsmap the way the reference library does for a Precompiled normalizer: a grapheme
// cluster of fewer than six bytes is looked up as a whole, where the shortest rule that matches its start replaces all of it; anything else
// goes rune by rune.
type graphemeCharsmap struct{ table *charsmap }

func (n graphemeCharsmap) normalize(s string) (string, error) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		end := graphemeEnd(s, i)
		if end-i < 6 {
			if repl, _, ok := n.table.lookup(s[i:end], false); ok {
				b.Write(repl)
				i = end
				continue
			}
		}
		for i < end {
			_, w := utf8.DecodeRuneInString(s[i:])
			if repl, _, ok := n.table.lookup(s[i:i+w], false); ok {
				b.Write(repl)
			} else {
				b.WriteString(s[i : i+w])
			}
			i += w
		}
		if err := checkGrowth(b.Len()); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// graphemeEnd returns the end of the grapheme cluster that starts at i (Unicode Standard Annex 29, extended
// clusters). Clusters of emoji and Hangul are cut where that cannot matter: they are longer than what is looked up
// as a whole.
func graphemeEnd(s string, i int) int {
	r, w := utf8.DecodeRuneInString(s[i:])
	end := i + w
	if r == '\r' && strings.HasPrefix(s[end:], "\n") {
		return end + 1
	}
	if isControl(r) {
		return end
	}
	prepend := unicode.Is(unicode.Prepended_Concatenation_Mark, r)
	hangul := r
	for end < len(s) {
		if c := s[end]; c < utf8.RuneSelf && !prepend {
			return end
		}
		r, w := utf8.DecodeRuneInString(s[end:])
		switch {
		case isControl(r):
			return end
		case prepend || extends(r):
			prepend = unicode.Is(unicode.Prepended_Concatenation_Mark, r)
		case joinsHangul(hangul, r):
		default:
			return end
		}
		hangul = r
		end += w
	}
	return end
}

func isControl(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xad || r == 0x2028 || r == 0x2029 ||
		r > 0xad && unicode.Is(unicode.Cf, r) && r != 0x200c && r != 0x200d &&
			!unicode.Is(unicode.Prepended_Concatenation_Mark, r) && !unicode.Is(unicode.Other_Grapheme_Extend, r)
}

// extends reports whether r continues a cluster: Extend, zero width joiner or SpacingMark.
func extends(r rune) bool {
	return r >= 0x300 && (unicode.In(r, unicode.Mn, unicode.Me, unicode.Mc, unicode.Other_Grapheme_Extend) ||
		r == 0x200d || r == 0xe33 || r == 0xeb3 || r >= 0x1f3fb && r <= 0x1f3ff)
}

// joinsHangul reports whether the two syllable parts belong together.
func joinsHangul(a, b rune) bool {
	lead := a >= 0x1100 && a <= 0x115f || a >= 0xa960 && a <= 0xa97c
	vowel := func(r rune) bool { return r >= 0x1160 && r <= 0x11a7 || r >= 0xd7b0 && r <= 0xd7c6 }
	tail := func(r rune) bool { return r >= 0x11a8 && r <= 0x11ff || r >= 0xd7cb && r <= 0xd7fb }
	syllable := a >= 0xac00 && a <= 0xd7a3
	open := syllable && (a-0xac00)%28 == 0
	switch {
	case lead:
		return b >= 0x1100 && b <= 0x115f || b >= 0xa960 && b <= 0xa97c || vowel(b) || b >= 0xac00 && b <= 0xd7a3
	case open || vowel(a):
		return vowel(b) || tail(b)
	case syllable || tail(a):
		return tail(b)
	}
	return false
}
