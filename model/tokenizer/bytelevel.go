package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Byte-level vocabularies write every byte as one visible rune: printable Latin-1 characters stand for themselves,
// the other 68 bytes for U+0100 and following (GPT-2, encoder.py).
var (
	runeOfByte = makeRuneOfByte()
	byteOfRune = makeByteOfRune() // -1 where a rune stands for no byte
)

func makeRuneOfByte() (t [256]rune) {
	next := rune(256)
	for b := range t {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			t[b] = rune(b)
		} else {
			t[b] = next
			next++
		}
	}
	return t
}

func makeByteOfRune() (t [324]int16) {
	for i := range t {
		t[i] = -1
	}
	for b, r := range runeOfByte {
		t[r] = int16(b)
	}
	return t
}

// mapBytes writes each byte of s as its visible rune.
func mapBytes(s string) string {
	var b strings.Builder
	b.Grow(len(s) + len(s)/2)
	for i := range len(s) {
		b.WriteRune(runeOfByte[s[i]])
	}
	return b.String()
}

// unmapBytes is the inverse of mapBytes; ok is false if a rune of s stands for no byte.
func unmapBytes(dst []byte, s string) (out []byte, ok bool) {
	for _, r := range s {
		if int(r) >= len(byteOfRune) || byteOfRune[r] < 0 {
			return dst, false
		}
		dst = append(dst, byte(byteOfRune[r]))
	}
	return dst, true
}

// byteToken parses <0xHH>, the piece that stands for one byte in SentencePiece vocabularies.
func byteToken(s string) (byte, bool) {
	if len(s) != 6 || !strings.HasPrefix(s, "<0x") || s[5] != '>' {
		return 0, false
	}
	hi, lo := hexDigit(s[3]), hexDigit(s[4])
	if hi < 0 || lo < 0 {
		return 0, false
	}
	return byte(hi<<4 | lo), true
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// validUTF8 replaces each byte that is part of no rune by U+FFFD, so that the rest of the package sees valid text.
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}
