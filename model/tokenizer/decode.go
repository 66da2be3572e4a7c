package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// decoder rewrites the list of pieces that ids stand for. inner is what becomes of one piece in the middle of a text.
type decoder interface {
	decode(pieces []string) []string
	inner(piece string) string
}

type decoderChain []decoder

// Decode returns the text of ids. skipSpecial leaves control tokens out. Bytes that form no rune become U+FFFD. Ids
// outside the vocabulary count as nothing.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	pieces := make([]string, 0, len(ids))
	for _, id := range ids {
		if p := t.decodedPiece(id); p != "" && !(skipSpecial && t.IsSpecial(id)) {
			pieces = append(pieces, p)
		}
	}
	if t.dec == nil {
		return strings.Join(pieces, " ")
	}
	for _, d := range t.dec {
		pieces = d.decode(pieces)
	}
	return strings.Join(pieces, "")
}

// decodedPiece is the piece that goes into the decoder: of an added token that is looked for in normalized text, the
// normalized form.
func (t *Tokenizer) decodedPiece(id int32) string {
	p := t.Piece(id)
	if a, ok := t.byID[id]; ok && a.Normalized && t.norm != nil && !t.spec.model.sentencePiece {
		if n, err := t.norm.normalize(p); err == nil {
			return n
		}
	}
	return p
}

// Bytes returns the bytes that id contributes in the middle of a text, which may be part of a rune. Special tokens
// give their own text.
func (t *Tokenizer) Bytes(id int32) []byte {
	p := t.decodedPiece(id)
	for _, d := range t.dec {
		if _, ok := d.(fuse); ok {
			break // what follows works on whole texts
		}
		p = d.inner(p)
	}
	return []byte(p)
}

// compileDecoder reads the decoder component of a tokenizer.json.
func compileDecoder(raw []byte, out decoderChain) (decoderChain, error) {
	if isNull(raw) {
		return out, nil
	}
	kind, err := typeOf(raw)
	if err != nil {
		return nil, err
	}
	var f struct {
		Decoders       []json.RawMessage
		Pattern        *splitPattern
		Content        string
		Start, Stop    int
		Prefix         *string
		Suffix         *string
		Cleanup        *bool
		Replacement    string  `json:"replacement"`
		AddPrefixSpace *bool   `json:"add_prefix_space"`
		PrependScheme  *string `json:"prepend_scheme"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("%s: %v", kind, err)
	}
	switch kind {
	case "Sequence":
		for _, r := range f.Decoders {
			if out, err = compileDecoder(r, out); err != nil {
				return nil, err
			}
		}
		return out, nil
	case "ByteLevel":
		return append(out, byteLevelDecoder{}), nil
	case "SentencePiece":
		var d sentencePieceDecoder
		return append(out, &d), json.Unmarshal(raw, &d)
	case "RWKV":
		return append(out, rwkvDecoder{}), nil
	case "ByteFallback":
		return append(out, byteFallback{}), nil
	case "Fuse":
		return append(out, fuse{}), nil
	case "Strip":
		if utf8.RuneCountInString(f.Content) != 1 || f.Start < 0 || f.Stop < 0 {
			return nil, fmt.Errorf("Strip: needs one character and counts that are not negative")
		}
		return append(out, stripDecoder{f.Content, f.Start, f.Stop}), nil
	case "Replace":
		if f.Pattern == nil || f.Pattern.Regex != nil || f.Pattern.String == nil || *f.Pattern.String == "" {
			return nil, fmt.Errorf("Replace: needs a string to replace")
		}
		return append(out, replaceDecoder{*f.Pattern.String, f.Content}), nil
	case "Metaspace":
		m, err := newMetaspace(f.Replacement, f.AddPrefixSpace, f.PrependScheme)
		if err != nil {
			return nil, err
		}
		return append(out, metaspaceDecoder{m.symbol, m.scheme != "never"}), nil
	case "WordPiece":
		d := wordPieceDecoder{prefix: "##", cleanup: f.Cleanup == nil || *f.Cleanup}
		if f.Prefix != nil {
			d.prefix = *f.Prefix
		}
		return append(out, d), nil
	case "BPEDecoder":
		d := bpeDecoder{"</w>"}
		if f.Suffix != nil {
			d.suffix = *f.Suffix
		}
		return append(out, d), nil
	}
	return nil, fmt.Errorf("decoder %q is unknown", kind)
}

// eachPiece applies f to every piece in place.
func eachPiece(pieces []string, f func(string) string) []string {
	for i, p := range pieces {
		pieces[i] = f(p)
	}
	return pieces
}

// byteLevelDecoder turns visible runes back into bytes; a piece with any other rune stands for itself.
type byteLevelDecoder struct{}

func (d byteLevelDecoder) decode(pieces []string) []string {
	var out []byte
	for _, p := range pieces {
		out = append(out, d.inner(p)...)
	}
	return []string{lossyUTF8(out)}
}

func (byteLevelDecoder) inner(p string) string {
	if b, ok := unmapBytes(make([]byte, 0, len(p)), p); ok {
		return string(b)
	}
	return p
}

// rwkvDecoder turns the escapes of RWKV's vocabulary into bytes. The type is ours.
type rwkvDecoder struct{}

func (d rwkvDecoder) decode(pieces []string) []string {
	var out []byte
	for _, p := range pieces {
		out = append(out, d.inner(p)...)
	}
	return []string{lossyUTF8(out)}
}

func (rwkvDecoder) inner(p string) string { return string(unescapeRWKV(p)) }

// byteFallback joins neighbouring byte pieces; bytes that are not UTF-8 as a whole become one U+FFFD each.
type byteFallback struct{}

func (byteFallback) decode(pieces []string) []string {
	var out []string
	var run []byte
	flush := func() {
		if utf8.Valid(run) {
			if len(run) > 0 {
				out = append(out, string(run))
			}
		} else {
			out = append(out, strings.Repeat("\ufffd", len(run)))
		}
		run = run[:0]
	}
	for _, p := range pieces {
		if b, ok := byteToken(p); ok {
			run = append(run, b)
			continue
		}
		flush()
		out = append(out, p)
	}
	flush()
	return out
}

func (byteFallback) inner(p string) string {
	if b, ok := byteToken(p); ok {
		return string([]byte{b})
	}
	return p
}

// fuse joins all pieces into one, for decoders that work on the whole.
type fuse struct{}

func (fuse) decode(pieces []string) []string { return []string{strings.Join(pieces, "")} }
func (fuse) inner(p string) string           { return p }

// stripDecoder removes up to start characters from the left and stop from the right of every piece.
type stripDecoder struct {
	content     string
	start, stop int
}

func (d stripDecoder) decode(pieces []string) []string { return eachPiece(pieces, d.inner) }

func (d stripDecoder) inner(p string) string {
	for i := 0; i < d.start && strings.HasPrefix(p, d.content); i++ {
		p = p[len(d.content):]
	}
	for i := 0; i < d.stop && strings.HasSuffix(p, d.content); i++ {
		p = p[:len(p)-len(d.content)]
	}
	return p
}

type replaceDecoder struct{ old, content string }

func (d replaceDecoder) decode(pieces []string) []string { return eachPiece(pieces, d.inner) }
func (d replaceDecoder) inner(p string) string           { return strings.ReplaceAll(p, d.old, d.content) }

// metaspaceDecoder turns the symbol into spaces, but drops it from the first piece where encoding has added it.
type metaspaceDecoder struct {
	symbol string
	drop   bool
}

func (d metaspaceDecoder) decode(pieces []string) []string {
	for i, p := range pieces {
		if i == 0 && d.drop {
			pieces[i] = strings.ReplaceAll(p, d.symbol, "")
		} else {
			pieces[i] = d.inner(p)
		}
	}
	return pieces
}

func (d metaspaceDecoder) inner(p string) string { return strings.ReplaceAll(p, d.symbol, " ") }

// wordPieceDecoder puts spaces between words and, if asked, takes them away again before punctuation.
type wordPieceDecoder struct {
	prefix  string
	cleanup bool
}

var wordPieceCleanup = [...]struct{ old, new string }{{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"},
	{" n't", "n't"}, {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}}

func (d wordPieceDecoder) clean(p string) string {
	if d.cleanup {
		for _, c := range wordPieceCleanup {
			p = strings.ReplaceAll(p, c.old, c.new)
		}
	}
	return p
}

func (d wordPieceDecoder) decode(pieces []string) []string {
	for i, p := range pieces {
		if i == 0 {
			pieces[i] = d.clean(p)
		} else {
			pieces[i] = d.inner(p)
		}
	}
	return pieces
}

func (d wordPieceDecoder) inner(p string) string {
	if rest, ok := strings.CutPrefix(p, d.prefix); ok {
		return d.clean(rest)
	}
	return d.clean(" " + p)
}

// bpeDecoder turns the end-of-word mark into a space, but for the last piece.
type bpeDecoder struct{ suffix string }

func (d bpeDecoder) decode(pieces []string) []string {
	for i, p := range pieces {
		if i == len(pieces)-1 {
			pieces[i] = strings.ReplaceAll(p, d.suffix, "")
		} else {
			pieces[i] = d.inner(p)
		}
	}
	return pieces
}

func (d bpeDecoder) inner(p string) string { return strings.ReplaceAll(p, d.suffix, " ") }

// lossyUTF8 replaces each longest start of a rune that is broken off, and each other invalid byte, by one U+FFFD.
func lossyUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	for i := 0; i < len(b); {
		r, w := utf8.DecodeRune(b[i:])
		if r != utf8.RuneError || w > 1 {
			out.Write(b[i : i+w])
			i += w
			continue
		}
		out.WriteRune(utf8.RuneError)
		i += brokenRune(b[i:])
	}
	return out.String()
}

// brokenRune returns how many bytes of an invalid sequence could have begun a rune.
func brokenRune(b []byte) int {
	for n := min(len(b), utf8.UTFMax-1); n > 1; n-- {
		if startsRune(b[:n]) {
			return n
		}
	}
	return 1
}

// startsRune reports whether b is a proper prefix of the encoding of some rune.
func startsRune(b []byte) bool {
	lo, hi, more := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		more = 1
	case c >= 0xe0 && c <= 0xef:
		more = 2
		if c == 0xe0 {
			lo = 0xa0
		} else if c == 0xed {
			hi = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		more = 3
		if c == 0xf0 {
			lo = 0x90
		} else if c == 0xf4 {
			hi = 0x8f
		}
	}
	if len(b) > more {
		return false
	}
	for i, c := range b[1:] {
		if i > 0 {
			lo, hi = 0x80, 0xbf
		}
		if c < lo || c > hi {
			return false
		}
	}
	return true
}
