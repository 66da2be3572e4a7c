package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// sentencePieceDecoder decodes as SentencePiece itself does: byte pieces form runes, each byte that belongs to none is U+FFFD, and the
// space that encoding has put in front is taken away. The type is ours; it stands beside the normalizer of the same name.
type sentencePieceDecoder struct {
	DummyPrefix bool `json:"add_dummy_prefix"`
	RemoveExtra bool `json:"remove_extra_whitespaces"` // leading spaces vanish from every piece before the first text
}

func spmDecoderJSON(dummyPrefix, removeExtra bool) []byte {
	return fmt.Appendf(nil, `{"type":"SentencePiece","add_dummy_prefix":%v,"remove_extra_whitespaces":%v}`, dummyPrefix, removeExtra)
}

func (d *sentencePieceDecoder) decode(pieces []string) []string {
	var out strings.Builder
	var run []byte
	flush := func() {
		for len(run) > 0 {
			r, w := utf8.DecodeRune(run)
			out.WriteRune(r)
			run = run[w:]
		}
	}
	strip := d.DummyPrefix || d.RemoveExtra
	for _, p := range pieces {
		if b, ok := byteToken(p); ok {
			run = append(run, b)
			continue
		}
		flush()
		if strip = strip && out.Len() == 0; strip {
			rest, had := strings.CutPrefix(p, spaceSymbol)
			p = rest
			strip = !had || d.RemoveExtra
		}
		out.WriteString(d.inner(p))
	}
	flush()
	return []string{out.String()}
}

func (d *sentencePieceDecoder) inner(p string) string {
	if b, ok := byteToken(p); ok {
		return string([]byte{b})
	}
	return strings.ReplaceAll(p, spaceSymbol, " ")
}
