package grammar

import (
	"encoding/json"
	"testing"
)

// FuzzParse compiles any grammar and follows any text: no panic, and two ways of following agree.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`root ::= "a" | [b-d]* x{2,3}` + "\nx ::= \"\\n\" .", "root ::= (\"a\" root)? # c", `root ::= [^a-z]+ "é"`, "root ::= a?\na ::= \"b\"+"} {
		f.Add(s, "abc\n")
	}
	v, eos := vocabulary()
	f.Fuzz(func(t *testing.T, source, text string) {
		if len(source) > 1<<12 || len(text) > 1<<8 {
			return
		}
		g, err := Parse(source)
		if err != nil {
			return
		}
		follow(t, g, v, eos, text)
	})
}

// FuzzJSONSchema does so with schemas; what a schema's grammar matches must be JSON.
func FuzzJSONSchema(f *testing.F) {
	for _, s := range []string{`{"type": "object", "properties": {"a": {"type": ["integer", "null"], "minimum": 3}}, "required": ["a"]}`,
		`{"anyOf": [{"const": [1]}, {"enum": ["x", {"y": 2}]}, {"$ref": "#/$defs/z"}], "$defs": {"z": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2}}}`,
		`{"allOf": [{"type": "object", "properties": {"a": true}}], "additionalProperties": {"type": "string", "format": "date"}}`} {
		f.Add(s, `{"a": 3}`)
	}
	v, eos := vocabulary()
	f.Fuzz(func(t *testing.T, source, text string) {
		if len(source) > 1<<12 || len(text) > 1<<8 {
			return
		}
		g, err := JSONSchema(json.RawMessage(source))
		if err != nil {
			return
		}
		if follow(t, g, v, eos, text) && !json.Valid([]byte(text)) {
			t.Fatalf("%q is no JSON", text)
		}
	})
}

// follow takes a text byte by byte through a matcher and compares its verdict with Match.
func follow(t *testing.T, g *Grammar, v *Vocabulary, eos int32, text string) bool {
	m := g.NewMatcher(v)
	ok := true
	for i := range len(text) {
		if m.Err() != nil {
			return false
		}
		mask := m.Mask()
		if in := mask[text[i]>>6]>>(text[i]&63)&1 != 0; m.Err() == nil && in != m.Allowed(int32(text[i])) {
			t.Fatal("mask and Allowed differ")
		}
		if err := m.Accept(int32(text[i])); err != nil {
			ok = false
			break
		}
	}
	ok = ok && m.Complete()
	if m.Err() == nil && ok != g.Match(text) {
		t.Fatalf("matcher says %v, Match %v", ok, g.Match(text))
	}
	_ = eos
	return ok
}
