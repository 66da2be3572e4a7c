package grammar

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny"
)

func TestGBNF(t *testing.T) {
	for _, c := range []struct {
		grammar string
		yes, no []string
	}{
		{`root ::= "a" | "bc"`, []string{"a", "bc"}, []string{"", "b", "abc", "aa"}},
		{`root ::= "a"* "b"+ "c"?`, []string{"b", "aab", "bbc", "abbc"}, []string{"", "a", "c", "abcc"}},
		{`root ::= [a-c]{2,3}`, []string{"ab", "abc"}, []string{"a", "abca", "ad"}},
		{`root ::= [a-c]{2}`, []string{"ab"}, []string{"a", "abc"}},
		{`root ::= [a-c]{2,}`, []string{"ab", "abcabc"}, []string{"a"}},
		{`root ::= [^"\\]+`, []string{"äöü", "日本", "🙂", "a\n"}, []string{`"`, `\`, ""}},
		{`root ::= [ä-ü]`, []string{"ä", "ö", "ü"}, []string{"a", "ÿ", "\xc3"}},
		{`root ::= "x" . "y"`, []string{"xay", "x日y", "x\ny"}, []string{"xy", "xaay"}},
		{"# comment\nroot ::= item (\",\" item)* # more\nitem ::= [0-9]+\n  | \"none\"", []string{"1", "1,none,22"}, []string{"", ",", "1,"}},
		{"root ::= \"(\" root \")\" | \"x\"", []string{"x", "((x))"}, []string{"((x)", "(x))"}},
		{"root ::= (\n \"a\" |\n \"b\"\n)\n", []string{"a", "b"}, []string{"ab"}},
		{`root ::= "\x41\u00e9\n\"" `, []string{"Aé\n\""}, []string{"A"}},
		{`root ::= a b
a ::= "1"?
b ::= "2"?`, []string{"", "1", "2", "12"}, []string{"21"}},
		{`root ::= ("ab" | "a" "b" "c")+`, []string{"ab", "abc", "abcab"}, []string{"abcc"}},
	} {
		g, err := Parse(c.grammar)
		if err != nil {
			t.Errorf("%s: %v", c.grammar, err)
			continue
		}
		for _, s := range c.yes {
			if !g.Match(s) {
				t.Errorf("%s does not match %q", c.grammar, s)
			}
		}
		for _, s := range c.no {
			if g.Match(s) {
				t.Errorf("%s matches %q", c.grammar, s)
			}
		}
	}
}

func TestGBNFErrors(t *testing.T) {
	for source, want := range map[string]string{
		"":                             `no rule "root"`,
		"root ::= x":                   `rule "x" is not defined`,
		"root ::= root \"a\"":          "begins with itself",
		"root ::= (\"a\"?)*":           "may be empty",
		"root ::= a\na ::= b\nb ::= a": "begins with itself",
		"root ::= \"a":                 "line 1: a string does not end",
		"\nroot ::= [a":                "line 2: a character class does not end",
		"root ::= [z-a]":               "runs backward",
		"root ::= (\"a\"":              "expected )",
		"root ::= \"a\"{99999}":        "over 8192",
		"root ::= \"a\"{3,2}":          "no count",
		"root ::= " + strings.Repeat("\"a\"{8000} ", 40): "too large",
		"root = \"a\"":                          "expected ::=",
		"root ::= \"a\" )":                      "expected the name",
		"root ::= \"\\q\"":                      "unknown escape",
		"root ::= \"a\"\nroot ::= \"b\"":        "defined twice",
		"root ::= " + strings.Repeat("(", 1000): "nested deeper",
		strings.Repeat("x", 300<<10):            "the limit is",
	} {
		if _, err := Parse(source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", source, err, want)
		}
	}
}

// TestRunes compares classes with what they say, for every character near the borders of lengths and of the class.
func TestRunes(t *testing.T) {
	borders := []rune{0, 'a', 0x7f, 0x80, 0xff, 0x7ff, 0x800, 0xfff, 0x1000, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10abc, 0x10ffff}
	s := rng.New(5)
	for range 300 {
		lo, hi := borders[s.Intn(len(borders))]+rune(s.Intn(70)), borders[s.Intn(len(borders))]+rune(s.Intn(70))
		if lo > hi {
			lo, hi = hi, lo
		}
		lo, hi = min(lo, utf8.MaxRune), min(hi, utf8.MaxRune)
		if lo >= 0xd800 && hi <= 0xdfff {
			continue
		}
		g, err := compile(map[string]node{"root": class{[]runeRange{{lo, hi}}}}, []string{"root"}, "root")
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range append(slices.Clone(borders), lo, hi) {
			for d := rune(-2); d <= 2; d++ {
				if r := b + d; utf8.ValidRune(r) && g.Match(string(r)) != (r >= lo && r <= hi) {
					t.Fatalf("[%x-%x] and %x: %v", lo, hi, r, g.Match(string(r)))
				}
			}
		}
	}
}

func TestJSONSchema(t *testing.T) {
	for _, c := range []struct {
		schema  string
		yes, no []string
	}{
		{`{}`, []string{"1", `"a"`, "[1, 2]", `{"a": {"b": []}}`, "true", "null", "-1.5e10"}, []string{"", "tru", "01", "[1,]", `{"a"}`}},
		{`true`, []string{"1"}, []string{"x"}},
		{`{"type": "object"}`, []string{"{}", `{"a":1,"b": [2]}`, "{\n  \"a\": 1\n}"}, []string{"1", `{"a":1`, "{  }"}},
		{`{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "boolean"}}, "required": ["b"]}`,
			[]string{`{"b":""}`, `{"a":1,"b":"x"}`, `{"b":"x","c":true}`, `{"a": -5, "b": "\u00e9\n", "c": false}`},
			[]string{`{}`, `{"a":1}`, `{"b":"x","a":1}`, `{"b":"x",}`, `{"b":"x","d":1}`, `{"b":1}`, `{"a":1.5,"b":"x"}`}},
		{`{"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}}`, []string{`{}`, `{"a":null}`, `{"b":null}`, `{"a":null,"b":null}`}, []string{`{"b":null,"a":null}`, `{,"b":null}`}},
		{`{"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "integer"}}`, []string{`{}`, `{"a":null}`, `{"x":1}`, `{"a":null,"x":1,"y":2}`}, []string{`{"x":null}`}},
		{`{"type": "array", "items": {"enum": ["x", 1, null]}, "minItems": 1, "maxItems": 3}`, []string{`["x"]`, `["x", 1, null]`}, []string{`[]`, `[2]`, `["x","x","x","x"]`}},
		{`{"type": "array", "items": {"type": "integer"}, "maxItems": 0}`, []string{"[]"}, []string{"[1]"}},
		{`{"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false}`, []string{`[1,"a"]`, `[1, "a"]`}, []string{`[1]`, `["a",1]`, `[1,"a",2]`}},
		{`{"type": "string", "minLength": 2, "maxLength": 3}`, []string{`"ab"`, `"äöü"`, `"\n\n"`}, []string{`"a"`, `"abcd"`}},
		{`{"type": "string", "format": "date-time"}`, []string{`"2025-03-09T14:05:07Z"`, `"2025-12-31T23:59:59.5+01:00"`}, []string{`"2025-13-01T00:00:00Z"`, `"x"`}},
		{`{"type": "string", "format": "uuid"}`, []string{`"123e4567-e89b-12d3-a456-426614174000"`}, []string{`"123"`}},
		{`{"const": {"a": [1, "ü<"]}}`, []string{`{"a":[1,"ü<"]}`}, []string{`{}`}},
		{`{"anyOf": [{"type": "integer"}, {"type": "null"}]}`, []string{"5", "null"}, []string{`"5"`}},
		{`{"type": ["string", "null"], "maxLength": 1}`, []string{`"a"`, "null"}, []string{`"ab"`, "1"}},
		{`{"$defs": {"tree": {"type": "object", "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}, "required": ["v", "kids"]}}, "$ref": "#/$defs/tree"}`,
			[]string{`{"v":1,"kids":[]}`, `{"v":1,"kids":[{"v":2,"kids":[{"v":3,"kids":[]}]}]}`}, []string{`{"v":1}`, `{"v":1,"kids":[1]}`}},
		{`{"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]}`, []string{`{"next":null}`, `{"next":{"next":null}}`}, []string{`{}`}},
		{`{"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "integer"}}}]}`, []string{`{"a":1}`, `{"a":1,"b":2}`}, []string{`{"b":2}`}},
	} {
		g, err := JSONSchema(json.RawMessage(c.schema))
		if err != nil {
			t.Errorf("%s: %v", c.schema, err)
			continue
		}
		for _, s := range c.yes {
			if !g.Match(s) {
				t.Errorf("%s does not match %s", c.schema, s)
			}
		}
		for _, s := range c.no {
			if g.Match(s) {
				t.Errorf("%s matches %s", c.schema, s)
			}
		}
	}
	for schema, want := range map[string]string{
		`{"type": "string", "pattern": "a+"}`:                          `schema: keyword "pattern" is not supported`,
		`{"properties": {"a": {"type": "number", "minimum": 1}}}`:      `schema.properties.a: keyword "minimum" is not supported`,
		`{"type": "strin"}`:                                            `type "strin" is unknown`,
		`{"$ref": "http://x/y"}`:                                       "does not point into this schema",
		`{"$ref": "#/$defs/x"}`:                                        "points at nothing",
		`{"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}`: "begins with itself",
		`{"type": "object", "required": ["x"]}`:                        "not among the properties",
		`{"type": "array", "minItems": 3, "maxItems": 1}`:              "below minItems",
		`{"type": "string", "maxLength": 1e9}`:                         "want 0 to 8192",
		`{"type": ["object", "object"]}`:                               `type names "object" twice`,
		manyRefs():                                                     "too large",
		`{"enum": []}`:                                                 "no list of values",
		`[1]`:                                                          "is no schema",
		`{"a": 1, "a": 2}`:                                             "stands twice",
		`{`:                                                            "EOF",
		strings.Repeat(`{"items":`, 100) + "{}" + strings.Repeat("}", 100): "nested deeper",
	} {
		if _, err := JSONSchema(json.RawMessage(schema)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", schema, err, want)
		}
	}
}

// manyRefs is a schema that points at one large part under many names.
func manyRefs() string {
	var refs, big []string
	for i := range 400 {
		refs = append(refs, fmt.Sprintf(`{"$ref": "#/%s$defs/x"}`, strings.Repeat("/", i)))
	}
	for i := range 200 {
		big = append(big, fmt.Sprintf(`"p%d": {"type": "integer", "minimum": 1, "maximum": 99}`, i))
	}
	return `{"$defs": {"x": {"type": "object", "properties": {` + strings.Join(big, ",") + `}}}, "anyOf": [` + strings.Join(refs, ",") + `]}`
}

// TestIntegers compares bounds with the numbers around them.
func TestIntegers(t *testing.T) {
	s := rng.New(3)
	for range 200 {
		lo, hi := int64(s.Intn(3000)-1000), int64(s.Intn(3000)-1000)
		if lo > hi {
			lo, hi = hi, lo
		}
		g, err := JSONSchema(json.RawMessage(`{"type": "integer", "minimum": ` + strconv.FormatInt(lo, 10) + `, "maximum": ` + strconv.FormatInt(hi, 10) + `}`))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []int64{lo, hi, lo - 1, hi + 1, (lo + hi) / 2, 0, 9, 10, 99, 100, 999, 1000, -1, -9, -10, -99, -100, -999, int64(s.Intn(3000) - 1000)} {
			if g.Match(strconv.FormatInt(x, 10)) != (x >= lo && x <= hi) {
				t.Fatalf("%d to %d, and %d: %v", lo, hi, x, !(x >= lo && x <= hi))
			}
		}
	}
}

// vocabulary is single bytes, some longer tokens, and an end.
func vocabulary() (*Vocabulary, int32) {
	var toks []string
	for c := range 256 {
		toks = append(toks, string([]byte{byte(c)}))
	}
	toks = append(toks, `{"`, `":`, `": "`, `",`, `"}`, "null", "true", "  ", "ä", "hello", "]}", `","`, "12", "", `{"a`)
	eos := int32(len(toks))
	return NewVocabulary(len(toks)+1, func(id int32) []byte {
		if id == eos {
			return nil
		}
		return []byte(toks[id])
	}, []int32{eos}), eos
}

// TestMask draws texts at random from masks: each mask agrees with asking token by token, each text is valid JSON that
// the grammar matches, and a machine that starts over all the time makes the same masks.
func TestMask(t *testing.T) {
	v, eos := vocabulary()
	g, err := JSONSchema(json.RawMessage(`{"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "number"}, "maxItems": 3}, "c": {"enum": ["x", null]}}, "required": ["a", "c"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(10) {
		s := rng.New(seed)
		m, fresh := g.NewMatcher(v), g.NewMatcher(v)
		var text []byte
		for n := 0; ; n++ {
			mask := m.Mask()
			var can []int32
			for id := range int32(len(v.bytes)) {
				in := mask[id>>6]>>(id&63)&1 != 0
				if in != m.Allowed(id) {
					t.Fatalf("after %q: mask and Allowed differ on %q", text, v.bytes[id])
				}
				if in {
					can = append(can, id)
				}
			}
			if !slices.Equal(mask, fresh.Mask()) {
				t.Fatal("another mask after starting over")
			}
			if len(can) == 0 {
				t.Fatalf("stuck after %q", text)
			}
			id := can[s.Intn(len(can))]
			if n > 30 && m.Allowed('"') { // come to an end
				id = '"'
			}
			if slices.Contains(can, eos) {
				id = eos
			}
			if err := m.Accept(id); err != nil {
				t.Fatal(err)
			}
			fresh.m.reset()
			fresh.state = fresh.m.start()
			for _, c := range text {
				fresh.state = fresh.m.step(fresh.state, c)
			}
			if err := fresh.Accept(id); err != nil {
				t.Fatal(err)
			}
			if id == eos {
				break
			}
			text = append(text, v.bytes[id]...)
		}
		if !json.Valid(text) || !g.Match(string(text)) || !m.Done() {
			t.Fatalf("drew %q", text)
		}
		if m.Allowed('{') || m.Accept('{') == nil {
			t.Error("something follows the end")
		}
	}
}

func TestRefused(t *testing.T) {
	v, _ := vocabulary()
	g, err := Parse(`root ::= "hello"`)
	if err != nil {
		t.Fatal(err)
	}
	m := g.NewMatcher(v)
	var refused *Refused
	if err := m.Accept('x'); !errors.As(err, &refused) || refused.ID != 'x' {
		t.Errorf("%v", err)
	}
	if err := m.Accept(265); err != nil || !m.Done() || !m.Complete() {
		t.Errorf("%v", err)
	}
}

// TestAmbiguous: a grammar with too many ways ends in an error, soon.
func TestAmbiguous(t *testing.T) {
	v, _ := vocabulary()
	g, err := Parse(`root ::= ("a"? "a"? "a"?){2000} "b"`)
	if err != nil {
		t.Fatal(err)
	}
	m := g.NewMatcher(v)
	for range 8 {
		m.Mask()
		if err := m.Accept('a'); err != nil {
			if !errors.Is(err, ErrAmbiguous) {
				t.Error(err)
			}
			return
		}
		if m.m.work > maxWork {
			t.Fatal("the bound is not kept")
		}
	}
}

// cl100k is a published vocabulary of 100 256 tokens.
func cl100k(t testing.TB) *Vocabulary {
	f, err := os.Open(tiny.Shared(t, "assets", "tokenizers", "cl100k_base", "cl100k_base.tiktoken"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var toks [][]byte
	for s := bufio.NewScanner(f); s.Scan(); {
		word, _, _ := strings.Cut(s.Text(), " ")
		b, err := base64.StdEncoding.DecodeString(word)
		if err != nil {
			t.Fatal(err)
		}
		toks = append(toks, b)
	}
	return NewVocabulary(len(toks)+1, func(id int32) []byte {
		if int(id) == len(toks) {
			return nil
		}
		return toks[id]
	}, []int32{int32(len(toks))})
}

// BenchmarkMask makes the mask of each place of a JSON text over 100 000 tokens: cold, as the first request of a grammar
// pays, and warm, as all later tokens do.
func BenchmarkMask(b *testing.B) {
	v := cl100k(b)
	g, err := JSONSchema(json.RawMessage(`{"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["name", "age", "tags"]}`))
	if err != nil {
		b.Fatal(err)
	}
	const text = `{"name": "Grace Hopper", "age": 85, "tags": ["navy", "compiler"]}`
	run := func(m *Matcher) {
		s := m.m.start()
		for i := range len(text) {
			m.state = s
			m.Mask()
			m.m.work = 0
			s = m.m.step(s, text[i])
		}
	}
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			run(g.NewMatcher(v))
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(text)), "µs/mask")
	})
	b.Run("warm", func(b *testing.B) {
		m := g.NewMatcher(v)
		run(m)
		for b.Loop() {
			run(m)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(text)), "µs/mask")
	})
}
