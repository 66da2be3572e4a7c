package strict

import (
	"encoding"
	"reflect"
	"time"
)

// Plain returns a value as plain data that JSON and YAML can write: structs as maps by their keys, times as text. It is
// the other way round of decoding.
func Plain(v reflect.Value) any {
	if v.Type() == durationType {
		return v.Interface().(time.Duration).String()
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return Plain(v.Elem())
	case reflect.Struct:
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		out := map[string]any{}
		for _, f := range Fields(p.Interface()) {
			out[f.Key] = Plain(f.Value)
		}
		return out
	case reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = Plain(v.Index(i))
		}
		return out
	case reflect.Map:
		out := map[string]any{}
		for _, k := range v.MapKeys() {
			out[k.String()] = Plain(v.MapIndex(k))
		}
		return out
	}
	return v.Interface()
}
