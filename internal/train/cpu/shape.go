package cpu

import (
	"fmt"
	"strings"
)

// DType is the type of an array's values.
type DType uint8

// The types. Float32 is computed fast, the others by plain loops.
const (
	Bool DType = iota
	Uint8
	Int32
	Int64
	Uint32
	Uint64
	Float32
	Float64
)

var dtypeNames = [...]string{"bool", "u8", "i32", "i64", "u32", "u64", "f32", "f64"}
var dtypeSizes = [...]int{1, 1, 4, 8, 4, 8, 4, 8}

// String returns the short name of the type.
func (d DType) String() string { return dtypeNames[d] }

// Size returns the bytes of one value.
func (d DType) Size() int { return dtypeSizes[d] }

// Shape is a type and the sizes of the dimensions; no dimensions means a scalar. Arrays are stored dense, the last
// dimension fastest.
type Shape struct {
	DType DType
	Dims  []int
}

// MakeShape returns the shape of that type and sizes.
func MakeShape(d DType, dims ...int) Shape { return Shape{d, append([]int{}, dims...)} }

// Len returns the number of values.
func (s Shape) Len() int { return product(s.Dims) }

// Bytes returns the size of an array of that shape.
func (s Shape) Bytes() int { return s.Len() * s.DType.Size() }

// String formats the shape as f32[2,3].
func (s Shape) String() string {
	return s.DType.String() + strings.ReplaceAll(fmt.Sprint(s.Dims), " ", ",")
}

// Equal reports whether both have the same type and sizes.
func (s Shape) Equal(t Shape) bool { return s.DType == t.DType && equalInts(s.Dims, t.Dims) }

// with returns the same sizes under another type.
func (s Shape) with(d DType) Shape { return Shape{d, s.Dims} }

func equalInts(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i, v := range a {
		if v != b[i] {
			return false
		}
	}
	return true
}

func product(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// denseStrides returns the strides of a dense array.
func denseStrides(dims []int) []int {
	s := make([]int, len(dims))
	n := 1
	for i := len(dims) - 1; i >= 0; i-- {
		s[i] = n
		n *= dims[i]
	}
	return s
}

// Buffer is an array in memory. Data is a slice of the Go type that Shape.DType names.
type Buffer struct {
	Shape Shape
	Data  any
}

// NewBuffer returns a buffer of zeros.
func NewBuffer(s Shape) *Buffer { return &Buffer{s, makeData(s.DType, s.Len())} }

func makeData(d DType, n int) any {
	switch d {
	case Bool:
		return make([]bool, n)
	case Uint8:
		return make([]uint8, n)
	case Int32:
		return make([]int32, n)
	case Int64:
		return make([]int64, n)
	case Uint32:
		return make([]uint32, n)
	case Uint64:
		return make([]uint64, n)
	case Float32:
		return make([]float32, n)
	case Float64:
		return make([]float64, n)
	}
	panic(fmt.Sprintf("cpu: type %d", d))
}

// BufferOf returns a buffer over a slice, which is not copied. It returns an error when the slice has a type that is
// not supported or another length than the sizes say.
func BufferOf(data any, dims ...int) (*Buffer, error) {
	d, n, ok := sliceInfo(data)
	if !ok {
		return nil, fmt.Errorf("cpu: values of type %T", data)
	}
	s := MakeShape(d, dims...)
	if s.Len() != n {
		return nil, fmt.Errorf("cpu: %d values for shape %s", n, s)
	}
	return &Buffer{s, data}, nil
}

func sliceInfo(data any) (DType, int, bool) {
	switch v := data.(type) {
	case []bool:
		return Bool, len(v), true
	case []uint8:
		return Uint8, len(v), true
	case []int32:
		return Int32, len(v), true
	case []int64:
		return Int64, len(v), true
	case []uint32:
		return Uint32, len(v), true
	case []uint64:
		return Uint64, len(v), true
	case []float32:
		return Float32, len(v), true
	case []float64:
		return Float64, len(v), true
	}
	return 0, 0, false
}

// sliceData returns values [lo,hi) of a data slice, capped so that nothing can append past it.
func sliceData(data any, lo, hi int) any {
	switch v := data.(type) {
	case []bool:
		return v[lo:hi:hi]
	case []uint8:
		return v[lo:hi:hi]
	case []int32:
		return v[lo:hi:hi]
	case []int64:
		return v[lo:hi:hi]
	case []uint32:
		return v[lo:hi:hi]
	case []uint64:
		return v[lo:hi:hi]
	case []float32:
		return v[lo:hi:hi]
	case []float64:
		return v[lo:hi:hi]
	}
	panic(fmt.Sprintf("cpu: values of type %T", data))
}

// CopyData copies values between two data slices of the same type. It returns an error when types or lengths differ.
func CopyData(dst, src any) error {
	dd, dn, ok1 := sliceInfo(dst)
	sd, sn, ok2 := sliceInfo(src)
	if !ok1 || !ok2 || dd != sd || dn != sn {
		return fmt.Errorf("cpu: copying %T of %d values to %T of %d", src, sn, dst, dn)
	}
	copyData(dst, src)
	return nil
}

func copyData(dst, src any) {
	switch d := dst.(type) {
	case []bool:
		copy(d, src.([]bool))
	case []uint8:
		copy(d, src.([]uint8))
	case []int32:
		copy(d, src.([]int32))
	case []int64:
		copy(d, src.([]int64))
	case []uint32:
		copy(d, src.([]uint32))
	case []uint64:
		copy(d, src.([]uint64))
	case []float32:
		copy(d, src.([]float32))
	case []float64:
		copy(d, src.([]float64))
	}
}
