package strict

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parelm/pare/model/tensor"
)

// upper is a type that reads a scalar itself.
type upper string

func (u *upper) UnmarshalText(b []byte) error {
	if strings.ContainsAny(string(b), "!") {
		return errors.New("no shouting")
	}
	*u = upper(strings.ToUpper(string(b)))
	return nil
}

// loss is a mapping that may be shortened to its weight.
type loss struct{ Weight, Temperature float64 }

func (l *loss) UnmarshalText(b []byte) error {
	_, err := fmt.Sscan(string(b), &l.Weight)
	return err
}

type inner struct {
	Deep int `max:"9"`
}

type base struct {
	GroupSize int `min:"1"`
	TargetBPW float64
}

type settings struct {
	base
	Algorithm string  `oneof:"rtn gptq"`
	Keep      float64 `above:"0" max:"1"`
	Bits      uint8
	On        bool
	Size      int64 `unit:"bytes"`
	Wait      time.Duration
	Names     []string
	Shares    map[string]float64 `max:"1"`
	Losses    map[string]loss
	Sub       inner
	Subs      []inner
	Opt       *int
	Kind      upper
	Other     string `yaml:"renamed"`
	Hidden    string `yaml:"-"`
	extra     gptq
}

type gptq struct {
	Dampening float64
	ActOrder  bool `yaml:"actorder"`
}

func (s *settings) Extra() ([]any, error) {
	if s.Algorithm == "gptq" {
		return []any{&s.extra}, nil
	}
	if s.Bits == 7 {
		return nil, Bad("bits", "%d bits exist nowhere", s.Bits)
	}
	return nil, nil
}

func decode(text string, s *settings) error {
	d, err := Parse("r.yaml", []byte(text), 32)
	if err != nil {
		return err
	}
	return d.Root().Decode(s)
}

func TestDecode(t *testing.T) {
	five := 5
	for text, want := range map[string]settings{
		"{}":                              {},
		"group_size: 32\ntarget_bpw: 4.5": {base: base{32, 4.5}},
		"keep: 75%":                       {Keep: 0.75},
		"keep: 1e-1":                      {Keep: 0.1},
		"keep: .5":                        {Keep: 0.5},
		"{\"keep\": 1, \"on\": true}":     {Keep: 1, On: true},
		"size: 400MB":                     {Size: 400_000_000},
		"size: 1.5 GiB":                   {Size: 3 << 29},
		"size: 12":                        {Size: 12},
		"size: 2kB":                       {Size: 2000},
		"wait: 1m30s":                     {Wait: 90 * time.Second},
		"names: [a, b]":                   {Names: []string{"a", "b"}},
		"names: a":                        {Names: []string{"a"}},
		"names:":                          {Names: []string{}},
		"names: [no, 1e3, 0x10, 1_000, 007, true, '5', 12:30, re:x.*]": {Names: []string{"no", "1e3", "0x10", "1_000", "007", "true", "5", "12:30", "re:x.*"}},
		"shares: {perplexity: 5%, b: 0.5}":                             {Shares: map[string]float64{"perplexity": 0.05, "b": 0.5}},
		"losses: {kl: 1.5, ce: {weight: 2, temperature: 3}}":           {Losses: map[string]loss{"kl": {1.5, 0}, "ce": {2, 3}}},
		"sub: {deep: 3}\nsubs: [{deep: 1}, {}]":                        {Sub: inner{3}, Subs: []inner{{1}, {}}},
		"sub:":                                                         {},
		"opt: 5":                                                       {Opt: &five},
		"kind: abc":                                                    {Kind: "ABC"},
		"renamed: 3":                                                   {Other: "3"},
		"algorithm: gptq\ndampening: 1%":                               {Algorithm: "gptq", extra: gptq{Dampening: 0.01}},
		"dampening: 1%\nactorder: true\nalgorithm: gptq":               {Algorithm: "gptq", extra: gptq{0.01, true}},
	} {
		var got settings
		if err := decode(text, &got); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", text, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		text  string
		class error
		want  string // the whole message
	}{
		{"", tensor.ErrInvalid, "r.yaml: is empty"},
		{"# only words\n", tensor.ErrInvalid, "r.yaml: is empty"},
		{"a: 1\n---\nb: 1\n", tensor.ErrUnsupported, "r.yaml: holds more than one document: only one is read, take out the --- lines"},
		{"sub:\n\tdeep: 1\n", tensor.ErrCorrupt, "r.yaml:2: not YAML: indented with a tab: YAML wants spaces"},
		{"names: [a\n", tensor.ErrCorrupt, "r.yaml:2: not YAML: while parsing a flow sequence: did not find expected ',' or ']'"},
		{"a: b: c\n", tensor.ErrCorrupt, "r.yaml:1: not YAML: mapping values are not allowed in this context"},
		{"on: true\nkind: \xff\n", tensor.ErrCorrupt, "r.yaml:2: byte 0xff is not UTF-8"},
		{"on: true\nkind: \x00\n", tensor.ErrCorrupt, "r.yaml:2: not YAML: control characters are not allowed (value: 0)"},
		{"names: &a [x]\n", tensor.ErrUnsupported, "r.yaml:1: anchor &a: anchors are not supported"},
		{"names: *a\n", tensor.ErrCorrupt, "r.yaml:1: not YAML: unknown anchor 'a' referenced"},
		{"bits: !!int 4\n", tensor.ErrUnsupported, "r.yaml:1: tag !!int: tags are not supported"},
		{"sub: !x {deep: 1}\n", tensor.ErrUnsupported, "r.yaml:1: tag !x: tags are not supported"},
		{"sub:\n  <<: {deep: 1}\n", tensor.ErrUnsupported, "r.yaml:2: merge key <<: not supported, write the values out"},
		{"[1, 2]", tensor.ErrInvalid, "r.yaml:1: want a mapping of keys to values, found a list"},
		{"hello", tensor.ErrInvalid, "r.yaml:1: want a mapping of keys to values, found hello"},
		{"on: true\ngroup_sise: 3\n", tensor.ErrInvalid, `r.yaml:2: group_sise: unknown key (did you mean "group_size"?)`},
		{"Keep: 3\n", tensor.ErrInvalid, `r.yaml:1: Keep: unknown key (did you mean "keep"?)`},
		{"hidden: x\n", tensor.ErrInvalid, `r.yaml:1: hidden: unknown key`},
		{"dampening: 1\n", tensor.ErrInvalid, `r.yaml:1: dampening: unknown key`},
		{"algorithm: gptq\ndampning: 1\n", tensor.ErrInvalid, `r.yaml:2: dampning: unknown key (did you mean "dampening"?)`},
		{"sub: {deap: 1}", tensor.ErrInvalid, `r.yaml:1: sub.deap: unknown key (did you mean "deep"?)`},
		{"subs: [{}, {x: 1}]", tensor.ErrInvalid, `r.yaml:1: subs[1].x: unknown key (known: deep)`},
		{"on: true\non: false\n", tensor.ErrInvalid, "r.yaml:2: on: given twice, first at r.yaml:1"},
		{"[a]: 1\n", tensor.ErrInvalid, "r.yaml:1: a key must be a plain name"},
		{"on: yes", tensor.ErrInvalid, "r.yaml:1: on: want true or false, found yes"},
		{"on: 'true'", tensor.ErrInvalid, `r.yaml:1: on: want true or false, found the text "true"`},
		{"bits: 1e1", tensor.ErrInvalid, "r.yaml:1: bits: want a whole number in plain digits, 0 or more, found 1e1"},
		{"bits: 0x10", tensor.ErrInvalid, "r.yaml:1: bits: want a whole number in plain digits, 0 or more, found 0x10"},
		{"bits: 1_0", tensor.ErrInvalid, "r.yaml:1: bits: want a whole number in plain digits, 0 or more, found 1_0"},
		{"bits: 010", tensor.ErrInvalid, "r.yaml:1: bits: want a whole number in plain digits, 0 or more, found 010"},
		{"bits: 256", tensor.ErrInvalid, "r.yaml:1: bits: want a whole number in plain digits, 0 or more, found 256"},
		{"bits: -1", tensor.ErrInvalid, "r.yaml:1: bits: want a whole number in plain digits, 0 or more, found -1"},
		{"bits: 4.0", tensor.ErrInvalid, "r.yaml:1: bits: want a whole number in plain digits, 0 or more, found 4.0"},
		{"bits:", tensor.ErrInvalid, "r.yaml:1: bits: want a whole number in plain digits, 0 or more, found nothing"},
		{"bits: 7", tensor.ErrInvalid, "r.yaml:1: bits: 7 bits exist nowhere"},
		{"group_size: 0", tensor.ErrInvalid, "r.yaml:1: group_size: 0 must be at least 1"},
		{"keep: 0", tensor.ErrInvalid, "r.yaml:1: keep: 0 must be more than 0"},
		{"keep: 150%", tensor.ErrInvalid, "r.yaml:1: keep: 150% must be at most 1"},
		{"keep: .nan", tensor.ErrInvalid, "r.yaml:1: keep: want a number such as 0.75 or a percentage, found .nan"},
		{"keep: NaN", tensor.ErrInvalid, "r.yaml:1: keep: want a number such as 0.75 or a percentage, found NaN"},
		{"keep: .inf", tensor.ErrInvalid, "r.yaml:1: keep: want a number such as 0.75 or a percentage, found .inf"},
		{"keep: 1e999", tensor.ErrInvalid, "r.yaml:1: keep: want a number such as 0.75 or a percentage, found 1e999"},
		{"keep: 0x1p-2", tensor.ErrInvalid, "r.yaml:1: keep: want a number such as 0.75 or a percentage, found 0x1p-2"},
		{"keep: [1]", tensor.ErrInvalid, "r.yaml:1: keep: want a number such as 0.75 or a percentage, found a list"},
		{"shares: {a: 1, b: 101%}", tensor.ErrInvalid, "r.yaml:1: shares.b: 101% must be at most 1"},
		{"shares: 3", tensor.ErrInvalid, "r.yaml:1: shares: want a mapping of keys to values, found 3"},
		{"size: 400M", tensor.ErrInvalid, "r.yaml:1: size: want a size such as 400MB, 1.5GiB or a number of bytes, found 400M"},
		{"size: -1", tensor.ErrInvalid, "r.yaml:1: size: want a size such as 400MB, 1.5GiB or a number of bytes, found -1"},
		{"size: 1.5", tensor.ErrInvalid, "r.yaml:1: size: want a size such as 400MB, 1.5GiB or a number of bytes, found 1.5"},
		{"size: 99999999TB", tensor.ErrInvalid, "r.yaml:1: size: want a size such as 400MB, 1.5GiB or a number of bytes, found 99999999TB"},
		{"wait: 90", tensor.ErrInvalid, "r.yaml:1: wait: want a duration such as 90s or 1h30m, found 90"},
		{"algorithm: gptk", tensor.ErrInvalid, `r.yaml:1: algorithm: "gptk" is not one of rtn, gptq (did you mean "gptq"?)`},
		{"kind: wow!", tensor.ErrInvalid, "r.yaml:1: kind: no shouting"},
		{"kind: [a]", tensor.ErrInvalid, "r.yaml:1: kind: want a text, found a list"},
		{"names: {a: b}", tensor.ErrInvalid, "r.yaml:1: names: want a list, found a mapping"},
		{"names: [a, {b: c}]", tensor.ErrInvalid, "r.yaml:1: names[1]: want a text, found a mapping"},
		{"renamed: ~", tensor.ErrInvalid, "r.yaml:1: renamed: want a text, found nothing"},
		{"sub: 3", tensor.ErrInvalid, "r.yaml:1: sub: want a mapping of keys to values, found 3"},
		{"bits: " + strings.Repeat("9", 200), tensor.ErrInvalid, "r.yaml:1: bits: want a whole number in plain digits, 0 or more, found " + strings.Repeat("9", 57) + "..."},
		{"bits: \"\\e[31m\\n\"", tensor.ErrInvalid, `r.yaml:1: bits: want a whole number in plain digits, 0 or more, found the text "\\x1b[31m\\n"`},
		{"on: 1\nbits: x\nfoo: 1\n", tensor.ErrInvalid, "r.yaml:2: bits: want a whole number in plain digits, 0 or more, found x\n" +
			"r.yaml:1: on: want true or false, found 1\nr.yaml:3: foo: unknown key"},
	} {
		var s settings
		err := decode(tc.text, &s)
		if err == nil {
			t.Errorf("%q passed", tc.text)
			continue
		}
		if err.Error() != tc.want {
			t.Errorf("%q:\n got %s\nwant %s", tc.text, err, tc.want)
		}
		if !errors.Is(err, tc.class) {
			t.Errorf("%q: class is not %v", tc.text, tc.class)
		}
	}
}

// TestBombs: hostile documents cost little.
func TestBombs(t *testing.T) {
	for name, text := range map[string]string{
		"flow depth":     strings.Repeat("[", 1<<20),
		"block depth":    strings.Repeat("- ", 1<<19),
		"map depth":      strings.Repeat("{a: ", 9000),
		"closed depth":   strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"aliases":        "a: &a [x]\n" + strings.Repeat("b: [*a, *a]\n", 1000),
		"unknown keys":   manyKeys(50_000),
		"bad elements":   "names: [" + strings.Repeat("[],", 150_000) + "]",
		"long scalar":    "bits: " + strings.Repeat("9", 1<<20),
		"question marks": strings.Repeat("? ", 1<<19),
		"long key":       strings.Repeat("k", 1000) + ": 1",
	} {
		start := time.Now()
		var s settings
		err := decode(text, &s)
		if err == nil {
			t.Errorf("%s passed", name)
			continue
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
		if n := len(err.Error()); n > 8000 {
			t.Errorf("%s: a message of %d bytes", name, n)
		}
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "grup_size%d: 1\n", i)
	}
	return b.String()
}

func TestSet(t *testing.T) {
	const text = "bits: 4\nsub: {deep: 1}\nsubs:\n- {deep: 1}\n- {deep: 2}\n"
	for _, tc := range []struct{ path, value, want string }{
		{"bits", "8", ""},
		{"sub.deep", "2", ""},
		{"subs.1.deep", "5", ""},
		{"names", "[a, b]", ""},
		{"shares.perplexity", "2%", ""},
		{"names", "", ""},
		{"bits", "x", "--set bits=x: bits: want a whole number in plain digits, 0 or more, found x"},
		{"bitz", "8", `--set bitz=8: bitz: unknown key (did you mean "bits"?)`},
		{"bits.deep", "8", `--set bits.deep=8: bits is a single value and has no "deep" in it`},
		{"subs.7.deep", "8", `--set subs.7.deep=8: subs has no element "7"`},
		{"sub..deep", "8", "--set sub..deep=8: the path has an empty part"},
		{"names", "[a", "--set names=[a: not YAML: while parsing a flow sequence: did not find expected ',' or ']'"},
		{"names", "&a [x]", "--set names=&a [x]: anchor &a: anchors are not supported"},
	} {
		d, err := Parse("r.yaml", []byte(text), 32)
		if err != nil {
			t.Fatal(err)
		}
		var s settings
		if err = d.Set(tc.path, tc.value, "--set "+tc.path+"="+tc.value, 32); err == nil {
			err = d.Root().Decode(&s)
		}
		if got := fmt.Sprint(err); got != tc.want && (err != nil || tc.want != "") {
			t.Errorf("%s=%s:\n got %s\nwant %s", tc.path, tc.value, got, tc.want)
		}
		if tc.path == "subs.1.deep" && !reflect.DeepEqual(s.Subs, []inner{{1}, {5}}) {
			t.Errorf("subs is %v", s.Subs)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"quantize", "prune", "distill", "eval", "convert", "init", "perplexity"}
	for name, want := range map[string]string{
		"quantise": "quantize", "prun": "prune", "evla": "eval", "distil": "distill", "QUANTIZE": "quantize",
		"quant": "quantize", "perp": "perplexity", "banana": "", "x": "", "initialise": "init", "": "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"ähnlich", "ahnlich", 1}, {strings.Repeat("a", 65), "a", 64}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("%s %s: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestFields(t *testing.T) {
	s := settings{Keep: 0.5}
	for _, want := range []struct{ key, typ, rng string }{
		{"group_size", "whole number", "1 <= x"}, {"target_bpw", "number", ""}, {"algorithm", "name", "one of rtn, gptq"},
		{"keep", "number", "0 < x <= 1"}, {"on", "true or false", ""}, {"size", "size", ""}, {"wait", "duration", ""},
		{"names", "list of texts", ""}, {"shares", "map of numbers", "x <= 1"}, {"sub", "mapping", ""}, {"opt", "whole number", ""}, {"kind", "text", ""}, {"renamed", "text", ""},
	} {
		found := false
		for _, f := range Fields(&s) {
			if f.Key == want.key {
				found = true
				if f.TypeName() != want.typ || f.Range() != want.rng {
					t.Errorf("%s: %q %q", f.Key, f.TypeName(), f.Range())
				}
			}
		}
		if !found {
			t.Errorf("%s is missing", want.key)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"bits: 4\nsub: {deep: 1}", "losses: {kl: {weight: 1}}", "a: &x [*x]", "names: |\n a\n b", "? a\n: b", "- - -", "{a: [1, {b: c}]}", "%TAG ! x\n---\na"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse("r.yaml", data, 32)
		if err != nil {
			var fe *tensor.FileError
			if !errors.As(err, &fe) || !strings.HasPrefix(fe.File, "r.yaml") {
				t.Errorf("an error that names no place: %v", err)
			}
			return
		}
		var s settings
		d.Root().Decode(&s)
	})
}
