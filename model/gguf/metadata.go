package gguf

import (
	"fmt"
	"iter"

	"github.com/parelm/pare/model/tensor"
)

// Metadata is the ordered list of a file's key-value pairs. Values have exactly the type of the file: uint8, int8,
// uint16, int16, uint32, int32, uint64, int64, float32, float64, bool, string, or a slice of one of these.
// The zero Metadata is empty and ready to use.
type Metadata struct {
	file  string // for messages
	pairs []pair
	index map[string]int
}

type pair struct {
	key   string
	value any
}

// Len returns the number of pairs.
func (m *Metadata) Len() int { return len(m.pairs) }

// All yields the pairs in order.
func (m *Metadata) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, p := range m.pairs {
			if !yield(p.key, p.value) {
				return
			}
		}
	}
}

// Get returns the value of key, and whether there is one.
func (m *Metadata) Get(key string) (any, bool) {
	i, ok := m.index[key]
	if !ok {
		return nil, false
	}
	return m.pairs[i].value, true
}

// Has reports whether there is a value for key.
func (m *Metadata) Has(key string) bool {
	_, ok := m.index[key]
	return ok
}

// Set gives key a value: in its place where the key exists, else at the end. The writer refuses values of other types
// than those above.
func (m *Metadata) Set(key string, value any) {
	if i, ok := m.index[key]; ok {
		m.pairs[i].value = value
		return
	}
	if m.index == nil {
		m.index = map[string]int{}
	}
	m.index[key] = len(m.pairs)
	m.pairs = append(m.pairs, pair{key, value})
}

// Delete removes key, if it is there.
func (m *Metadata) Delete(key string) {
	i, ok := m.index[key]
	if !ok {
		return
	}
	m.pairs = append(m.pairs[:i], m.pairs[i+1:]...)
	delete(m.index, key)
	for j := i; j < len(m.pairs); j++ {
		m.index[m.pairs[j].key] = j
	}
}

// String returns the value of key, which must be a string. A missing key is an error, as is any other type; the same
// holds for the other typed getters.
func (m *Metadata) String(key string) (string, error) { return typed[string](m, key, "a string") }

// Bool returns the value of key, which must be a bool.
func (m *Metadata) Bool(key string) (bool, error) { return typed[bool](m, key, "a bool") }

// Strings returns the value of key, which must be an array of strings.
func (m *Metadata) Strings(key string) ([]string, error) {
	return typed[[]string](m, key, "an array of strings")
}

// Floats returns the value of key, which must be an array of float32.
func (m *Metadata) Floats(key string) ([]float32, error) {
	return typed[[]float32](m, key, "an array of float32")
}

func typed[T any](m *Metadata, key, want string) (T, error) {
	v, ok := m.Get(key)
	if !ok {
		var none T
		return none, m.errorf(key, "missing, want %s", want)
	}
	t, ok := v.(T)
	if !ok {
		return t, m.errorf(key, "is %s, want %s", typeName(v), want)
	}
	return t, nil
}

func (m *Metadata) errorf(key, format string, args ...any) error {
	return tensor.Errorf(tensor.ErrInvalid, m.file, fmt.Sprintf("key %q", key), format, args...)
}

// Float returns the value of key, which must be a float32 or float64.
func (m *Metadata) Float(key string) (float64, error) {
	switch v, _ := m.Get(key); v := v.(type) {
	case float32:
		return float64(v), nil
	case float64:
		return v, nil
	}
	return typed[float64](m, key, "a float")
}

// Uint returns the value of key, which must be an integer of any width and not negative.
func (m *Metadata) Uint(key string) (uint64, error) {
	var i int64
	switch v, _ := m.Get(key); v := v.(type) {
	case uint8:
		return uint64(v), nil
	case uint16:
		return uint64(v), nil
	case uint32:
		return uint64(v), nil
	case uint64:
		return v, nil
	case int8:
		i = int64(v)
	case int16:
		i = int64(v)
	case int32:
		i = int64(v)
	case int64:
		i = v
	default:
		return typed[uint64](m, key, "an integer")
	}
	if i < 0 {
		return 0, m.errorf(key, "is %d, want no negative number", i)
	}
	return uint64(i), nil
}

// Ints returns the value of key, which must be an array of integers of any width that fit 63 bits.
func (m *Metadata) Ints(key string) ([]int64, error) {
	switch v, _ := m.Get(key); v := v.(type) {
	case []uint8:
		return widen(v), nil
	case []int8:
		return widen(v), nil
	case []uint16:
		return widen(v), nil
	case []int16:
		return widen(v), nil
	case []uint32:
		return widen(v), nil
	case []int32:
		return widen(v), nil
	case []int64:
		return widen(v), nil
	case []uint64:
		out := widen(v)
		for i, x := range out {
			if x < 0 {
				return nil, m.errorf(key, "element %d is %d, over 63 bits", i, v[i])
			}
		}
		return out, nil
	}
	return typed[[]int64](m, key, "an array of integers")
}

func widen[T uint8 | int8 | uint16 | int16 | uint32 | int32 | uint64 | int64](v []T) []int64 {
	out := make([]int64, len(v))
	for i, x := range v {
		out[i] = int64(x)
	}
	return out
}

// typeOf returns the number of the value's type, the element type of an array, and the length of an array.
func typeOf(v any) (id uint32, array bool, n int, ok bool) {
	switch v := v.(type) {
	case uint8:
		return typeUint8, false, 1, true
	case int8:
		return typeInt8, false, 1, true
	case uint16:
		return typeUint16, false, 1, true
	case int16:
		return typeInt16, false, 1, true
	case uint32:
		return typeUint32, false, 1, true
	case int32:
		return typeInt32, false, 1, true
	case float32:
		return typeFloat32, false, 1, true
	case bool:
		return typeBool, false, 1, true
	case string:
		return typeString, false, 1, true
	case uint64:
		return typeUint64, false, 1, true
	case int64:
		return typeInt64, false, 1, true
	case float64:
		return typeFloat64, false, 1, true
	case []uint8:
		return typeUint8, true, len(v), true
	case []int8:
		return typeInt8, true, len(v), true
	case []uint16:
		return typeUint16, true, len(v), true
	case []int16:
		return typeInt16, true, len(v), true
	case []uint32:
		return typeUint32, true, len(v), true
	case []int32:
		return typeInt32, true, len(v), true
	case []float32:
		return typeFloat32, true, len(v), true
	case []bool:
		return typeBool, true, len(v), true
	case []string:
		return typeString, true, len(v), true
	case []uint64:
		return typeUint64, true, len(v), true
	case []int64:
		return typeInt64, true, len(v), true
	case []float64:
		return typeFloat64, true, len(v), true
	}
	return 0, false, 0, false
}

func typeName(v any) string {
	id, array, n, ok := typeOf(v)
	switch {
	case !ok:
		return fmt.Sprintf("%T", v)
	case array:
		return fmt.Sprintf("an array of %d %s", n, typeNames[id])
	}
	return typeNames[id]
}
