package strict

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// Field is one key that a struct takes.
type Field struct {
	Key    string
	Value  reflect.Value // settable; holds the default before decoding
	Struct reflect.Type  // the struct that declares it, and ...
	Go     string        // ... its name there, to find its comment
	Tag    reflect.StructTag
}

// Fields returns the keys of structs given as pointers, in their order; those of embedded structs stand in place.
func Fields(targets ...any) []Field {
	var fields []Field
	for _, t := range targets {
		v := reflect.ValueOf(t)
		if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
			panic(fmt.Sprintf("strict: %T is not a pointer to a struct", t))
		}
		fields = appendFields(fields, v.Elem())
	}
	seen := map[string]bool{}
	for _, f := range fields {
		if seen[f.Key] {
			panic(fmt.Sprintf("strict: key %q is declared twice, once in %v", f.Key, f.Struct))
		}
		seen[f.Key] = true
	}
	return fields
}

func appendFields(fields []Field, v reflect.Value) []Field {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		switch {
		case key == "-":
		case f.Anonymous && f.Type.Kind() == reflect.Struct && key == "":
			fields = appendFields(fields, v.Field(i))
		case !f.IsExported():
		default:
			if key == "" {
				key = snake(f.Name)
			}
			fields = append(fields, Field{key, v.Field(i), t, f.Name, f.Tag})
		}
	}
	return fields
}

// snake turns GroupSize into group_size and TargetBPW into target_bpw.
func snake(name string) string {
	r := []rune(name)
	var b strings.Builder
	for i, c := range r {
		if unicode.IsUpper(c) && i > 0 && (!unicode.IsUpper(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

var (
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	nodeType     = reflect.TypeFor[NodeDecoder]()
	durationType = reflect.TypeFor[time.Duration]()
)

// TypeName describes what a field takes, in a word or two.
func (f Field) TypeName() string {
	if f.Tag.Get("unit") == "bytes" {
		return "size"
	}
	if f.Tag.Get("oneof") != "" {
		return "name"
	}
	return typeName(f.Value.Type())
}

// Typed is a type that says itself what users write for it.
type Typed interface{ TypeName() string }

func typeName(t reflect.Type) string {
	switch {
	case t.Implements(reflect.TypeFor[Typed]()):
		return reflect.Zero(t).Interface().(Typed).TypeName()
	case t == durationType:
		return "duration"
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem())
	case t.Kind() == reflect.Slice:
		return "list of " + plural(typeName(t.Elem()))
	case t.Kind() == reflect.Map:
		return "map of " + plural(typeName(t.Elem()))
	case reflect.PointerTo(t).Implements(textType):
		return "text"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.String:
		return "text"
	case reflect.Struct:
		return "mapping"
	}
	return "whole number"
}

func plural(s string) string {
	if s == "true or false" {
		return "true or false values"
	}
	return s + "s"
}

// Range describes the values a field takes: "0 < x <= 1", "one of gptq, rtn", or nothing.
func (f Field) Range() string {
	if words := strings.Fields(f.Tag.Get("oneof")); len(words) > 0 {
		return "one of " + strings.Join(words, ", ")
	}
	low, high := "", ""
	if s, ok := f.Tag.Lookup("min"); ok {
		low = s + " <= "
	}
	if s, ok := f.Tag.Lookup("above"); ok {
		low = s + " < "
	}
	if s, ok := f.Tag.Lookup("max"); ok {
		high = " <= " + s
	}
	if s, ok := f.Tag.Lookup("below"); ok {
		high = " < " + s
	}
	if low+high == "" {
		return ""
	}
	return low + "x" + high
}
