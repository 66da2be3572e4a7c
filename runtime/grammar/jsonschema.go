package grammar

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// JSONSchema compiles a JSON schema to the grammar of the documents it describes. Properties come in the order of the
// schema; white space is at most one line end with indentation, so that a model cannot write spaces without end.
//
// Known are type, enum, const, anyOf, oneOf, allOf of objects, $ref into the schema (also of itself), properties,
// required, additionalProperties, items, prefixItems, minItems, maxItems, minLength, maxLength, format (date, time,
// date-time, uuid), and the bounds of integers. A keyword that constrains and is not known is an error that names it,
// never ignored.
func JSONSchema(raw json.RawMessage) (*Grammar, error) {
	if len(raw) > maxSource {
		return nil, fmt.Errorf("the schema has %d bytes, the limit is %d", len(raw), maxSource)
	}
	root, err := decode(raw)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	s := &schema{root: root, rules: map[string]node{}, refs: map[string]ref{}}
	s.common()
	s.add("root", seq{s.node(root, "schema"), ref("end")})
	if s.err != nil {
		return nil, s.err
	}
	return compile(s.rules, s.order, "root")
}

// JSON is the grammar of any JSON object.
func JSON() *Grammar {
	g, err := JSONSchema(json.RawMessage(`{"type": "object"}`))
	if err != nil {
		panic(err) // it is a constant
	}
	return g
}

// schema compiles one schema.
type schema struct {
	root  any
	rules map[string]node
	order []string
	refs  map[string]ref
	depth int
	n     int
	err   error
}

func (s *schema) fail(where, format string, args ...any) node {
	if s.err == nil {
		s.err = fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...))
	}
	return ""
}

func (s *schema) add(name string, n node) ref {
	if s.rules[name] == nil {
		s.order = append(s.order, name)
	}
	if len(s.order) > maxRules {
		s.fail("schema", "is too large: over %d rules", maxRules)
	}
	s.rules[name] = n
	return ref(name)
}

// fresh makes a rule of its own.
func (s *schema) fresh(n node) ref {
	s.n++
	return s.add("r"+strconv.Itoa(s.n), n)
}

func chars(ranges ...rune) class {
	var c class
	for i := 0; i < len(ranges); i += 2 {
		c.ranges = append(c.ranges, runeRange{ranges[i], ranges[i+1]})
	}
	return c
}

func opt(n node) node { return rep{n, 0, 1} }

// common are the rules that every schema shares.
func (s *schema) common() {
	digit, hex := chars('0', '9'), chars('0', '9', 'a', 'f', 'A', 'F')
	s.add("ws", alt{"", " ", seq{"\n", rep{chars(' ', ' ', '\t', '\t'), 0, 20}}})
	s.add("end", opt("\n"))
	s.add("digit", digit)
	s.add("hex", hex)
	s.add("char", alt{chars(' ', '!', '#', '[', ']', utf8.MaxRune),
		seq{`\`, alt{chars('"', '"', '\\', '\\', '/', '/', 'b', 'b', 'f', 'f', 'n', 'n', 'r', 'r', 't', 't'), seq{"u", rep{ref("hex"), 4, 4}}}}})
	s.add("string", seq{`"`, rep{ref("char"), 0, -1}, `"`})
	s.add("natural", alt{"0", seq{chars('1', '9'), rep{ref("digit"), 0, 15}}})
	s.add("integer", seq{opt("-"), ref("natural")})
	s.add("number", seq{ref("integer"), opt(seq{".", rep{ref("digit"), 1, 16}}), opt(seq{chars('e', 'e', 'E', 'E'), opt(chars('+', '+', '-', '-')), rep{ref("digit"), 1, 3}})})
	s.add("boolean", alt{"true", "false"})
	s.add("null", "null")
	s.add("member", seq{ref("string"), ref("ws"), ":", ref("ws"), ref("value")})
	s.add("object", s.listOf("{", "}", ref("member"), 0, -1))
	s.add("array", s.listOf("[", "]", ref("value"), 0, -1))
	s.add("value", alt{ref("object"), ref("array"), ref("string"), ref("number"), ref("boolean"), ref("null")})
}

// listOf is items parted by commas, in brackets.
func (s *schema) listOf(open, shut string, item node, lo, hi int) node {
	ws := ref("ws")
	if hi == 0 {
		return seq{open, ws, shut}
	}
	more := hi
	if hi > 0 {
		more--
	}
	some := seq{item, rep{seq{ws, ",", ws, item}, max(lo-1, 0), more}}
	if lo == 0 {
		return seq{open, ws, opt(seq{some, ws}), shut}
	}
	return seq{open, ws, some, ws, shut}
}

// annotations say nothing about which documents fit.
var annotations = []string{"title", "description", "default", "examples", "example", "$schema", "$id", "$comment", "$defs", "definitions", "deprecated",
	"readOnly", "writeOnly", "strict", "name"}

// only reports keywords besides the known ones.
func (s *schema) only(o *object, where string, known ...string) {
	for _, k := range o.Keys {
		if !slices.Contains(known, k) && !slices.Contains(annotations, k) {
			s.fail(where, "keyword %q is not supported here (known: %s)", k, strings.Join(known, ", "))
		}
	}
}

// node compiles the schema v.
func (s *schema) node(v any, where string) node {
	if s.depth++; s.depth > maxJSONDepth {
		s.depth--
		return s.fail(where, "nested deeper than %d", maxJSONDepth)
	}
	defer func() { s.depth-- }()
	if s.err != nil {
		return ""
	}
	if v == true {
		return ref("value")
	}
	o, ok := v.(*object)
	if !ok {
		return s.fail(where, "is no schema")
	}
	switch {
	case o.Get("$ref") != nil:
		s.only(o, where, "$ref")
		return s.refTo(o.Get("$ref"), where)
	case o.Get("const") != nil || slices.Contains(o.Keys, "const"):
		s.only(o, where, "const", "type")
		return s.constant(o.Get("const"), where)
	case o.Get("enum") != nil:
		s.only(o, where, "enum", "type")
		list, ok := o.Get("enum").([]any)
		if !ok || len(list) == 0 {
			return s.fail(where, "enum is no list of values")
		}
		out := alt{}
		for _, c := range list {
			out = append(out, s.constant(c, where))
		}
		return s.fresh(out)
	}
	for _, k := range []string{"anyOf", "oneOf"} {
		if list, ok := o.Get(k).([]any); ok {
			s.only(o, where, k)
			out := alt{}
			for i, c := range list {
				out = append(out, s.node(c, fmt.Sprintf("%s.%s[%d]", where, k, i)))
			}
			if len(out) == 0 {
				return s.fail(where, "%s is empty", k)
			}
			return s.fresh(out)
		}
	}
	if list, ok := o.Get("allOf").([]any); ok {
		return s.allOf(o, list, where)
	}
	return s.typed(o, where)
}

func (s *schema) constant(v any, where string) node {
	text, err := encode(v)
	if err != nil {
		return s.fail(where, "%v", err)
	}
	return text
}

// refTo compiles what a $ref names, once: so a schema may name itself.
func (s *schema) refTo(v any, where string) node {
	name, ok := v.(string)
	if !ok || !strings.HasPrefix(name, "#") {
		return s.fail(where, "$ref %v does not point into this schema", v)
	}
	if r, ok := s.refs[name]; ok {
		return r
	}
	at := s.root
	for _, part := range strings.Split(strings.TrimPrefix(strings.TrimPrefix(name, "#"), "/"), "/") {
		if part == "" {
			continue
		}
		o, ok := at.(*object)
		if ok {
			at = o.Get(strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~"))
		}
		if !ok || at == nil {
			return s.fail(where, "$ref %s points at nothing", name)
		}
	}
	s.n++
	r := ref("r" + strconv.Itoa(s.n))
	s.refs[name] = r
	s.add(string(r), "")
	s.rules[string(r)] = s.node(at, name)
	return r
}

// allOf joins object schemas.
func (s *schema) allOf(o *object, list []any, where string) node {
	s.only(o, where, "allOf", "type", "properties", "required", "additionalProperties")
	if len(list) == 1 && o.Get("properties") == nil {
		return s.node(list[0], where+".allOf[0]")
	}
	props, required := &object{Vals: map[string]any{}}, []any{}
	all := append([]any{}, list...)
	all = append(all, &object{Keys: []string{"properties", "required"}, Vals: map[string]any{"properties": o.Get("properties"), "required": o.Get("required")}})
	for i, v := range all {
		part, ok := v.(*object)
		if !ok {
			return s.fail(where, "allOf[%d] is no object schema", i)
		}
		s.only(part, fmt.Sprintf("%s.allOf[%d]", where, i), "type", "properties", "required", "additionalProperties")
		if p, ok := part.Get("properties").(*object); ok {
			for _, k := range p.Keys {
				if _, dup := props.Vals[k]; dup {
					return s.fail(where, "allOf gives property %q twice", k)
				}
				props.Keys = append(props.Keys, k)
				props.Vals[k] = p.Vals[k]
			}
		}
		if r, ok := part.Get("required").([]any); ok {
			required = append(required, r...)
		}
	}
	return s.typed(&object{Keys: []string{"type", "properties", "required", "additionalProperties"},
		Vals: map[string]any{"type": "object", "properties": props, "required": required, "additionalProperties": o.Get("additionalProperties")}}, where)
}

// typed compiles a schema by its type, or by what its keywords tell of it.
func (s *schema) typed(o *object, where string) node {
	switch t := o.Get("type").(type) {
	case string:
		return s.ofType(o, t, where)
	case []any:
		out := alt{}
		seen := map[string]bool{}
		for _, x := range t {
			name, _ := x.(string)
			if seen[name] { // else the parts of a nested schema would double at each level
				return s.fail(where, "type names %q twice", name)
			}
			seen[name] = true
			one := &object{Vals: o.Vals}
			for _, k := range o.Keys { // each type looks at its own keywords
				if slices.Contains(keywords[name], k) || k == "type" {
					one.Keys = append(one.Keys, k)
				} else if !knownAnywhere(k) {
					s.fail(where, "keyword %q is not supported", k)
				}
			}
			out = append(out, s.ofType(one, name, where))
		}
		if len(out) == 0 {
			return s.fail(where, "type is empty")
		}
		return s.fresh(out)
	case nil:
		for _, t := range []string{"object", "array", "string"} {
			for _, k := range o.Keys {
				if slices.Contains(keywords[t], k) {
					return s.ofType(o, t, where)
				}
			}
		}
		s.only(o, where)
		return ref("value")
	}
	return s.fail(where, "type is no name")
}

// keywords are what each type knows.
var keywords = map[string][]string{
	"object":  {"properties", "required", "additionalProperties"},
	"array":   {"items", "prefixItems", "minItems", "maxItems"},
	"string":  {"minLength", "maxLength", "format"},
	"integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
	"number":  nil, "boolean": nil, "null": nil,
}

func knownAnywhere(k string) bool {
	for _, list := range keywords {
		if slices.Contains(list, k) {
			return true
		}
	}
	return slices.Contains(annotations, k)
}

func (s *schema) ofType(o *object, t, where string) node {
	known, ok := keywords[t]
	if !ok {
		return s.fail(where, "type %q is unknown", t)
	}
	s.only(o, where, append([]string{"type"}, known...)...)
	switch t {
	case "object":
		return s.object(o, where)
	case "array":
		return s.array(o, where)
	case "string":
		return s.string(o, where)
	case "integer":
		return s.integer(o, where)
	}
	return ref(t)
}

// count reads a keyword that is a number of things.
func (s *schema) count(o *object, key string, def int, where string) int {
	v := o.Get(key)
	if v == nil {
		return def
	}
	x, _ := v.(json.Number)
	n, err := strconv.Atoi(string(x))
	if err != nil || n < 0 || n > maxRepeat {
		s.fail(where, "%s is %v: want 0 to %d", key, v, maxRepeat)
		return 0
	}
	return n
}

func (s *schema) array(o *object, where string) node {
	lo, hi := s.count(o, "minItems", 0, where), s.count(o, "maxItems", -1, where)
	if hi >= 0 && hi < lo {
		return s.fail(where, "maxItems is below minItems")
	}
	var item node = ref("value")
	if v := o.Get("items"); v != nil && v != false {
		item = s.fresh(s.node(v, where+".items"))
	}
	prefix, ok := o.Get("prefixItems").([]any)
	if !ok {
		return s.fresh(s.listOf("[", "]", item, lo, hi))
	}
	ws := ref("ws")
	out := seq{"[", ws}
	for i, v := range prefix {
		if i > 0 {
			out = append(out, ",", ws)
		}
		out = append(out, s.node(v, fmt.Sprintf("%s.prefixItems[%d]", where, i)), ws)
	}
	if o.Get("items") != false && (hi < 0 || hi > len(prefix)) && len(prefix) > 0 {
		more := hi
		if hi >= 0 {
			more = hi - len(prefix)
		}
		out = append(out, rep{seq{",", ws, item, ws}, max(0, lo-len(prefix)), more})
	}
	return s.fresh(append(out, "]"))
}

// formats of strings.
func (s *schema) format(name, where string) node {
	d, h := ref("digit"), ref("hex")
	two := seq{d, d}
	date := seq{d, d, d, d, "-", alt{seq{"0", chars('1', '9')}, seq{"1", chars('0', '2')}}, "-", alt{seq{"0", chars('1', '9')}, seq{chars('1', '2'), d}, seq{"3", chars('0', '1')}}}
	clock := seq{alt{seq{chars('0', '1'), d}, seq{"2", chars('0', '3')}}, ":", chars('0', '5'), d, ":", chars('0', '5'), d, opt(seq{".", rep{d, 1, 9}}),
		alt{"Z", seq{chars('+', '+', '-', '-'), two, ":", two}}}
	switch name {
	case "date":
		return date
	case "time":
		return clock
	case "date-time":
		return seq{date, "T", clock}
	case "uuid":
		return seq{rep{h, 8, 8}, "-", rep{h, 4, 4}, "-", rep{h, 4, 4}, "-", rep{h, 4, 4}, "-", rep{h, 12, 12}}
	}
	return s.fail(where, "format %q is not supported (known: date, time, date-time, uuid)", name)
}

func (s *schema) string(o *object, where string) node {
	if f, ok := o.Get("format").(string); ok {
		s.only(o, where, "type", "format")
		return s.fresh(seq{`"`, s.format(f, where), `"`})
	}
	lo, hi := s.count(o, "minLength", 0, where), s.count(o, "maxLength", -1, where)
	if lo == 0 && hi < 0 {
		return ref("string")
	}
	if hi >= 0 && hi < lo {
		return s.fail(where, "maxLength is below minLength")
	}
	return s.fresh(seq{`"`, rep{ref("char"), lo, hi}, `"`})
}

// object compiles properties in their order. rest(i, comma) is what may follow before property i; comma says whether
// something stands before it. Two rules a property, whatever the choice of optional ones.
func (s *schema) object(o *object, where string) node {
	props, _ := o.Get("properties").(*object)
	if props == nil {
		props = &object{Vals: map[string]any{}}
	}
	required := map[string]bool{}
	if list, ok := o.Get("required").([]any); ok {
		for _, v := range list {
			name, ok := v.(string)
			if _, known := props.Vals[name]; !ok || !known {
				return s.fail(where, "required property %v is not among the properties", v)
			}
			required[name] = true
		}
	}
	extra := s.additional(o, props, where)
	ws := ref("ws")
	type tail struct{ first, after node } // nothing stands before, or something does
	end := tail{"", ws}
	if extra != nil {
		after := seq{rep{seq{ws, ",", ws, extra}, 0, -1}, ws}
		end = tail{opt(seq{extra, after}), after}
	}
	rest := end
	for i := len(props.Keys) - 1; i >= 0; i-- {
		name := props.Keys[i]
		member := s.fresh(seq{s.constant(name, where), ws, ":", ws, s.node(props.Vals[name], where+".properties."+name)})
		var next tail
		with := s.fresh(seq{member, rest.after})
		after := s.fresh(seq{ws, ",", ws, with})
		if required[name] {
			next = tail{with, after}
		} else {
			next = tail{s.fresh(alt{with, rest.first}), s.fresh(alt{after, rest.after})}
		}
		rest = next
	}
	return s.fresh(seq{"{", ws, rest.first, "}"})
}

// additional returns the member that further properties are, nil for none. A further property may not have the name
// of a known one, but that is more than a grammar of this kind says in few rules: where properties are known, further
// ones are written only if the schema asks for them.
func (s *schema) additional(o, props *object, where string) node {
	switch v := o.Get("additionalProperties").(type) {
	case nil:
		if len(props.Keys) > 0 {
			return nil
		}
		return ref("member")
	case bool:
		if v {
			return ref("member")
		}
		return nil
	default:
		return s.fresh(seq{ref("string"), ref("ws"), ":", ref("ws"), s.node(v, where+".additionalProperties")})
	}
}
