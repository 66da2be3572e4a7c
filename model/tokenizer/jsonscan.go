package tokenizer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/parelm/pare/model/tensor"
)

// tokenizer.json is one small tree around one very long object or two very long lists. encoding/json would box
// every entry and silently keep the last of two equal keys. So the document is validated once as a whole
// (checkJSON) and then walked in place: members calls back for each key with the raw bytes of its value, elements for
// each element of a list. Small parts go to encoding/json.

// checkJSON validates the whole document; the walkers below rely on it.
func checkJSON(file string, data []byte) error {
	if !utf8.Valid(data) {
		return tensor.Errorf(tensor.ErrCorrupt, file, "", "is not valid UTF-8")
	}
	if !json.Valid(data) {
		var x json.RawMessage
		return tensor.Errorf(tensor.ErrCorrupt, file, "", "is not valid JSON: %v", json.Unmarshal(data, &x))
	}
	return nil
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// valueEnd returns the end of the value at b[i:].
func valueEnd(b []byte, i int) int {
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		depth := 0
		for ; ; i++ {
			switch b[i] {
			case '"':
				i = stringEnd(b, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	return i
}

func stringEnd(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// members calls f for each member of the object raw, in the order of the file. Anything but an object is an error.
func members(raw []byte, f func(key string, val []byte) error) error {
	i := skipSpace(raw, 0)
	if i >= len(raw) || raw[i] != '{' {
		return fmt.Errorf("is not an object")
	}
	for i = skipSpace(raw, i+1); raw[i] != '}'; i = skipSpace(raw, i) {
		end := stringEnd(raw, i)
		key, err := unquote(raw[i:end])
		if err != nil {
			return err
		}
		i = skipSpace(raw, end)
		i = skipSpace(raw, i+1) // the colon
		end = valueEnd(raw, i)
		if err := f(key, raw[i:end]); err != nil {
			return err
		}
		if i = skipSpace(raw, end); raw[i] == ',' {
			i++
		}
	}
	return nil
}

// elements calls f for each element of the list raw. Anything but a list is an error.
func elements(raw []byte, f func(val []byte) error) error {
	i := skipSpace(raw, 0)
	if i >= len(raw) || raw[i] != '[' {
		return fmt.Errorf("is not a list")
	}
	for i = skipSpace(raw, i+1); raw[i] != ']'; i = skipSpace(raw, i) {
		end := valueEnd(raw, i)
		if err := f(raw[i:end]); err != nil {
			return err
		}
		if i = skipSpace(raw, end); raw[i] == ',' {
			i++
		}
	}
	return nil
}

// unquote decodes a JSON string. Half a surrogate pair is an error, as it is for the reference library.
func unquote(raw []byte) (string, error) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", fmt.Errorf("%s is not a string", clip(string(raw), 20))
	}
	raw = raw[1 : len(raw)-1]
	for i, c := range raw {
		if c == '\\' {
			return unescape(raw, i)
		}
	}
	return string(raw), nil
}

func unescape(raw []byte, i int) (string, error) {
	out := append(make([]byte, 0, len(raw)), raw[:i]...)
	for i < len(raw) {
		c := raw[i]
		if c != '\\' {
			out = append(out, c)
			i++
			continue
		}
		c = raw[i+1]
		i += 2
		switch c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(raw[i:])
			i += 4
			if utf16.IsSurrogate(r) {
				if i+6 > len(raw) || raw[i] != '\\' || raw[i+1] != 'u' {
					return "", fmt.Errorf("string holds half a surrogate pair")
				}
				if r = utf16.DecodeRune(r, hex4(raw[i+2:])); r == utf8.RuneError {
					return "", fmt.Errorf("string holds half a surrogate pair")
				}
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default: // quote, slash, backslash
			out = append(out, c)
		}
	}
	return string(out), nil
}

func hex4(b []byte) rune {
	v, _ := strconv.ParseUint(string(b[:4]), 16, 32)
	return rune(v)
}

// isNull reports whether a value is absent or null.
func isNull(raw []byte) bool { return len(raw) == 0 || string(raw) == "null" }

// typeOf returns the "type" member of a component.
func typeOf(raw []byte) (string, error) {
	var t struct{ Type *string }
	if err := json.Unmarshal(raw, &t); err != nil {
		return "", err
	}
	if t.Type == nil {
		return "", fmt.Errorf("has no type")
	}
	return *t.Type, nil
}
