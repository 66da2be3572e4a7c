package tokenizer

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// normalizer rewrites text before it is split. The text is valid UTF-8. The error is that the text grew beyond
// all bounds.
type normalizer interface {
	normalize(s string) (string, error)
}

// normFunc is a normalizer that cannot fail: its text grows by a small factor at most.
type normFunc func(string) string

func (f normFunc) normalize(s string) (string, error) { return f(s), nil }

type normSequence []normalizer

func (q normSequence) normalize(s string) (string, error) {
	var err error
	for _, n := range q {
		if s, err = n.normalize(s); err != nil {
			return "", err
		}
		if err = checkGrowth(len(s)); err != nil {
			return "", err
		}
	}
	return s, nil
}

// checkGrowth refuses normalized text of more than four times the longest text that may be encoded.
func checkGrowth(n int) error {
	if int64(n) > 4*limits.Text {
		return tensor.Errorf(tensor.ErrTooLarge, "", "normalizer", "text grows to %d bytes, more than 4 x %d", n, limits.Text)
	}
	return nil
}

// compileNormalizer reads the normalizer component of a tokenizer.json.
func compileNormalizer(raw []byte) (normalizer, error) {
	if isNull(raw) {
		return nil, nil
	}
	kind, err := typeOf(raw)
	if err != nil {
		return nil, err
	}
	var f struct {
		Normalizers  []json.RawMessage
		Pattern      *splitPattern
		Content      string
		Prepend      string
		StripLeft    bool `json:"strip_left"`
		StripRight   bool `json:"strip_right"`
		Lowercase    bool
		CleanText    bool   `json:"clean_text"`
		Chinese      bool   `json:"handle_chinese_chars"`
		StripAccents *bool  `json:"strip_accents"`
		Charsmap     string `json:"precompiled_charsmap"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("%s: %v", kind, err)
	}
	switch kind {
	case "Sequence":
		var q normSequence
		for _, r := range f.Normalizers {
			n, err := compileNormalizer(r)
			if err != nil {
				return nil, err
			}
			if n != nil {
				q = append(q, n)
			}
		}
		return q, nil
	case "NFC":
		return normFunc(norm.NFC.String), nil
	case "NFD":
		return normFunc(norm.NFD.String), nil
	case "NFKC":
		return normFunc(norm.NFKC.String), nil
	case "NFKD":
		return normFunc(norm.NFKD.String), nil
	case "Lowercase":
		return normFunc(lowercase), nil
	case "StripAccents":
		return normFunc(stripMarks), nil
	case "Nmt":
		return normFunc(nmt), nil
	case "ByteLevel":
		return normFunc(mapBytes), nil
	case "Strip":
		return normFunc(func(s string) string { return strip(s, f.StripLeft, f.StripRight) }), nil
	case "Prepend":
		return normFunc(func(s string) string {
			if s == "" {
				return s
			}
			return f.Prepend + s
		}), nil
	case "Replace":
		return compileReplace(f.Pattern, f.Content)
	case "BertNormalizer", "Bert":
		accents := f.Lowercase
		if f.StripAccents != nil {
			accents = *f.StripAccents
		}
		return bertNormalizer{clean: f.CleanText, chinese: f.Chinese, accents: accents, lower: f.Lowercase}, nil
	case "Precompiled":
		blob, err := base64.StdEncoding.DecodeString(f.Charsmap)
		if err != nil {
			return nil, fmt.Errorf("precompiled_charsmap: %v", err)
		}
		m, err := newCharsmap(blob)
		return graphemeCharsmap{m}, err
	case "SentencePiece":
		return compileSentencePiece(raw)
	}
	return nil, fmt.Errorf("normalizer %q is unknown", kind)
}

// lowercase maps rune by rune, with the one rune whose lower case is two.
func lowercase(s string) string {
	if !strings.ContainsRune(s, 'İ') {
		return strings.ToLower(s)
	}
	var b strings.Builder
	for _, r := range s {
		if r == 'İ' {
			b.WriteString("i\u0307")
		} else {
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

// dropRunes returns s without the runes that f maps below zero and with the others mapped.
func dropRunes(s string, f func(rune) rune) string { return strings.Map(f, s) }

// stripMarks removes combining marks.
func stripMarks(s string) string {
	return dropRunes(s, func(r rune) rune {
		if r >= 0x300 && unicode.Is(unicode.M, r) {
			return -1
		}
		return r
	})
}

// nmt removes control characters and turns other blanks into spaces, as the rules of SentencePiece's nmt_ family.
func nmt(s string) string {
	return dropRunes(s, func(r rune) rune {
		switch {
		case r >= 0x01 && r <= 0x08, r == 0x0b, r >= 0x0e && r <= 0x1f, r == 0x7f, r == 0x8f, r == 0x9f:
			return -1
		case r == 0x09, r == 0x0a, r == 0x0c, r == 0x0d, r == 0x1680, r >= 0x200b && r <= 0x200f, r == 0x2028, r == 0x2029,
			r == 0x2581, r == 0xfeff, r == 0xfffd:
			return ' '
		}
		return r
	})
}

func strip(s string, left, right bool) string {
	if left {
		s = strings.TrimLeftFunc(s, unicode.IsSpace)
	}
	if right {
		s = strings.TrimRightFunc(s, unicode.IsSpace)
	}
	return s
}

// compileReplace replaces each match of a string or pattern.
func compileReplace(p *splitPattern, content string) (normalizer, error) {
	if p == nil {
		return nil, fmt.Errorf("Replace: has no pattern")
	}
	if p.Regex == nil && p.String != nil && *p.String != "" {
		old := *p.String
		return replaceString{old, content}, nil
	}
	sc, err := p.compile()
	if err != nil {
		return nil, fmt.Errorf("Replace: %w", err)
	}
	return replacePattern{sc, content}, nil
}

type replaceString struct{ old, content string }

func (n replaceString) normalize(s string) (string, error) {
	if grow := len(n.content) - len(n.old); grow > 1 {
		if err := checkGrowth(len(s) + strings.Count(s, n.old)*grow); err != nil {
			return "", err
		}
	}
	return strings.ReplaceAll(s, n.old, n.content), nil
}

type replacePattern struct {
	scanner scanner
	content string
}

func (n replacePattern) normalize(s string) (string, error) {
	sc, content := n.scanner, n.content
	var st scanState
	var b strings.Builder
	done := 0
	for pos := 0; pos < len(s); {
		start, end := sc.next(&st, s, pos)
		if start == len(s) {
			break
		}
		b.WriteString(s[done:start])
		b.WriteString(content)
		if err := checkGrowth(b.Len()); err != nil {
			return "", err
		}
		if done, pos = end, end; start == end { // an empty match: content goes in, nothing comes out
			pos = skipRunes(s, pos, 1)
		}
	}
	if st.over {
		return "", errNotLinear("normalizer")
	}
	if b.Len() == 0 && done == 0 {
		return s, nil
	}
	b.WriteString(s[done:])
	return b.String(), nil
}

func errNotLinear(field string) error {
	return tensor.Errorf(tensor.ErrUnsupported, "", field, "pattern takes more than linear time on this text")
}

// bertNormalizer is the text cleaning of the original BERT.
type bertNormalizer struct{ clean, chinese, accents, lower bool }

func (n bertNormalizer) normalize(s string) (string, error) {
	if n.clean {
		s = dropRunes(s, func(r rune) rune {
			switch {
			case r == '\t' || r == '\n' || r == '\r':
				return ' '
			case r < utf8.RuneSelf:
				if r < ' ' || r == 0x7f {
					return -1
				}
			case r == utf8.RuneError || controlSet().has(r):
				return -1
			case spaceSet().has(r):
				return ' '
			}
			return r
		})
	}
	if n.chinese {
		s = spaceChinese(s)
	}
	if n.accents {
		s = dropRunes(norm.NFD.String(s), func(r rune) rune {
			if r >= 0x300 && nonspacingSet().has(r) {
				return -1
			}
			return r
		})
	}
	if n.lower {
		s = lowercase(s)
	}
	return s, nil
}

var (
	controlSet    = sync.OnceValue(func() *runeSet { return newRuneSet(tableRanges(unicode.Cc, unicode.Cf, unicode.Co)) })
	nonspacingSet = sync.OnceValue(func() *runeSet { return newRuneSet(tableRanges(unicode.Mn)) })
)

func spaceChinese(s string) string {
	if strings.IndexFunc(s, isChinese) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if isChinese(r) {
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isChinese lists the blocks that BERT counts as Chinese; 2B920 is its own slip, kept for equality.
func isChinese(r rune) bool {
	return r >= 0x4e00 && r <= 0x9fff || r >= 0x3400 && r <= 0x4dbf || r >= 0x20000 && r <= 0x2a6df ||
		r >= 0x2a700 && r <= 0x2b73f || r >= 0x2b740 && r <= 0x2b81f || r >= 0x2b920 && r <= 0x2ceaf ||
		r >= 0xf900 && r <= 0xfaff || r >= 0x2f800 && r <= 0x2fa1f
}
