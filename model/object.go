package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// object is a JSON object that keeps the order and the exact text of its values, so that config.json is written back as
// it was read but for what pruning changed. Typed getters fall back to the family's defaults and remember the first
// error.
type object struct {
	file     string
	keys     []string
	vals     map[string]json.RawMessage
	defaults map[string]json.RawMessage
	err      error
	warnings []string
	within   string // the model_type that this is the language model of
}

// parseObject reads one JSON object without duplicate keys.
func parseObject(file string, data []byte) (*object, error) {
	if int64(len(data)) > limits.Config {
		return nil, tensor.Errorf(ErrTooLarge, file, "", "is %d bytes, the limit is %d", len(data), limits.Config)
	}
	o := &object{file: file, vals: map[string]json.RawMessage{}}
	d := json.NewDecoder(bytes.NewReader(data))
	t, err := d.Token()
	if err != nil || t != json.Delim('{') {
		return nil, tensor.Errorf(ErrCorrupt, file, "", "is not a JSON object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, tensor.Errorf(ErrCorrupt, file, "", "%v", err)
		}
		key := t.(string) // inside an object the decoder gives string keys or an error
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, tensor.Errorf(ErrCorrupt, file, fmt.Sprintf("key %q", key), "%v", err)
		}
		if _, dup := o.vals[key]; dup {
			return nil, tensor.Errorf(ErrCorrupt, file, fmt.Sprintf("key %q", key), "stands twice")
		}
		o.keys = append(o.keys, key)
		o.vals[key] = v
	}
	if _, err := d.Token(); err != nil {
		return nil, tensor.Errorf(ErrCorrupt, file, "", "%v", err)
	}
	if d.More() {
		return nil, tensor.Errorf(ErrCorrupt, file, "", "has text after the object")
	}
	return o, nil
}

func (o *object) clone() *object {
	c := &object{file: o.file, keys: append([]string(nil), o.keys...), vals: map[string]json.RawMessage{}, defaults: o.defaults}
	for k, v := range o.vals {
		c.vals[k] = v
	}
	return c
}

// raw returns the value of key, else its default. A JSON null is an absent value that no default replaces: transformers
// keeps None where a file says null.
func (o *object) raw(key string) json.RawMessage {
	v, ok := o.vals[key]
	if !ok {
		v = o.defaults[key]
	}
	if string(v) == "null" {
		return nil
	}
	return v
}

// has reports whether key has a value or a default.
func (o *object) has(key string) bool { return o.raw(key) != nil }

func (o *object) fail(class error, key, format string, args ...any) {
	if o.err == nil {
		o.err = tensor.Errorf(class, o.file, fmt.Sprintf("key %q", key), format, args...)
	}
}

// warn notes what a careful user should know.
func (o *object) warn(format string, args ...any) {
	o.warnings = append(o.warnings, fmt.Sprintf(format, args...))
}

func (o *object) decode(key string, v any, kind string) bool {
	r := o.raw(key)
	if r == nil {
		return false
	}
	if err := json.Unmarshal(r, v); err != nil {
		o.fail(ErrInvalid, key, "is %s, must be %s", clip(string(r)), kind)
		return false
	}
	return true
}

// clip shortens foreign text for an error message.
func clip(s string) string {
	if len(s) > 60 {
		return s[:57] + "..."
	}
	return s
}

// num returns the integer at key, or 0 where it is absent.
func (o *object) num(key string) int {
	var f float64
	if !o.decode(key, &f, "an integer") {
		return 0
	}
	if f != math.Trunc(f) || math.Abs(f) > 1<<31 {
		o.fail(ErrInvalid, key, "is %v, must be an integer below 2^31", f)
		return 0
	}
	return int(f)
}

// need is num for a key that must be there.
func (o *object) need(key string) int {
	if !o.has(key) {
		o.fail(ErrInvalid, key, "is missing")
	}
	return o.num(key)
}

// real returns the number at key, or 0 where it is absent.
func (o *object) real(key string) float64 {
	var f float64
	o.decode(key, &f, "a number")
	return f
}

func (o *object) flag(key string) bool {
	var b bool
	o.decode(key, &b, "true or false")
	return b
}

func (o *object) text(key string) string {
	var s string
	o.decode(key, &s, "a string")
	return s
}

func (o *object) texts(key string) []string {
	var s []string
	o.decode(key, &s, "a list of strings")
	return s
}

func (o *object) ints(key string) []int {
	var s []int
	o.decode(key, &s, "a list of integers")
	return s
}

func (o *object) reals(key string) []float64 {
	var s []float64
	o.decode(key, &s, "a list of numbers")
	return s
}

// sub returns the object at key, or nil where it is absent.
func (o *object) sub(key string) *object {
	r := o.raw(key)
	if r == nil {
		return nil
	}
	s, err := parseObject(o.file, r)
	if err != nil {
		o.fail(ErrInvalid, key, "must be an object")
		return nil
	}
	return s
}

// set gives key a new value, at the end where it is new. A number that JSON has no word for, which a GGUF file may lead to, is an error.
func (o *object) set(key string, v any) {
	r, err := json.Marshal(v)
	if err != nil {
		o.fail(ErrInvalid, key, "comes out as %v", v)
		return
	}
	if f, ok := v.(float64); ok { // 10000.0 stays a float for readers that tell the two apart
		s := strconv.FormatFloat(f, 'g', -1, 64)
		if !bytes.ContainsAny([]byte(s), ".en") {
			s += ".0"
		}
		r = json.RawMessage(s)
	}
	if _, old := o.vals[key]; !old {
		o.keys = append(o.keys, key)
	}
	o.vals[key] = r
}

// jsonOf is an object as a value of another one.
func jsonOf(o *object) json.RawMessage { return o.bytes() }

// alias makes the value of an old name the default of the new one.
func (o *object) alias(key, old string) {
	if o.defaults == nil {
		o.defaults = map[string]json.RawMessage{}
	}
	o.defaults[key] = o.raw(old)
}

// rename gives the value of key old, unless it is null, the name key, in its place, whatever that key held.
func (o *object) rename(old, key string) {
	v, ok := o.vals[old]
	if !ok || string(v) == "null" {
		return
	}
	o.delete(key)
	delete(o.vals, old)
	o.keys[slices.Index(o.keys, old)], o.vals[key] = key, v
}

// delete removes key.
func (o *object) delete(key string) {
	delete(o.vals, key)
	for i, k := range o.keys {
		if k == key {
			o.keys = append(o.keys[:i], o.keys[i+1:]...)
			return
		}
	}
}

// bytes formats the object as transformers does: two spaces, one key a line, a newline at the end.
func (o *object) bytes() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range o.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		name, _ := json.Marshal(k)
		b.Write(name)
		b.WriteByte(':')
		b.Write(o.vals[k])
	}
	b.WriteByte('}')
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		panic("model: " + err.Error()) // values are valid JSON
	}
	out.WriteByte('\n')
	return out.Bytes()
}
