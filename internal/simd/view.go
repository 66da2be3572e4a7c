package simd

import "unsafe"

// Float32s returns the bytes of b as float32 values of this machine's byte order, without copying. Bytes that do not make a
// whole value are left out. It returns nil and false if b is not aligned to 4 bytes.
func Float32s(b []byte) ([]float32, bool) {
	p := unsafe.SliceData(b)
	if uintptr(unsafe.Pointer(p))%4 != 0 {
		return nil, false
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(p)), len(b)/4), true
}

// Uint16s returns the bytes of b as uint16 values of this machine's byte order, without copying. Bytes that do not make a
// whole value are left out. It returns nil and false if b is not aligned to 2 bytes.
func Uint16s(b []byte) ([]uint16, bool) {
	p := unsafe.SliceData(b)
	if uintptr(unsafe.Pointer(p))%2 != 0 {
		return nil, false
	}
	return unsafe.Slice((*uint16)(unsafe.Pointer(p)), len(b)/2), true
}

// Int8s returns the bytes of b as signed ones, without copying.
func Int8s(b []byte) []int8 {
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(b))), len(b))
}

// BytesOf returns the bytes of x, without copying.
func BytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// at returns the codes of a group.
func (c chunkActs) at(group int) *int8 {
	return (*int8)(unsafe.Add(unsafe.Pointer(c.first), group*c.step))
}

// int8s returns the first byte of w.
func int8s(w []int16) *int8 { return (*int8)(unsafe.Pointer(unsafe.SliceData(w))) }
