package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
)

// integer and float are the types of values, by kind.
type integer interface {
	uint8 | int32 | int64 | uint32 | uint64
}

type float interface{ float32 | float64 }

// number returns one value as a float64.
func number(data any, i int) float64 {
	switch v := data.(type) {
	case []bool:
		if v[i] {
			return 1
		}
		return 0
	case []uint8:
		return float64(v[i])
	case []int32:
		return float64(v[i])
	case []int64:
		return float64(v[i])
	case []uint32:
		return float64(v[i])
	case []uint64:
		return float64(v[i])
	case []float32:
		return float64(v[i])
	case []float64:
		return v[i]
	}
	panic(fmt.Sprintf("cpu: values of type %T", data))
}

// setNumber stores a value given as a float64.
func setNumber(data any, i int, x float64) {
	switch v := data.(type) {
	case []bool:
		v[i] = x != 0
	case []uint8:
		v[i] = uint8(x)
	case []int32:
		v[i] = int32(x)
	case []int64:
		v[i] = int64(x)
	case []uint32:
		v[i] = uint32(x)
	case []uint64:
		v[i] = uint64(x)
	case []float32:
		v[i] = float32(x)
	case []float64:
		v[i] = x
	}
}

// convertData converts values between types.
func convertData(dst, src any) {
	switch s := src.(type) {
	case []bool:
		n := make([]uint8, len(s))
		for i, b := range s {
			if b {
				n[i] = 1
			}
		}
		convertFrom(dst, n)
	case []uint8:
		convertFrom(dst, s)
	case []int32:
		convertFrom(dst, s)
	case []int64:
		convertFrom(dst, s)
	case []uint32:
		convertFrom(dst, s)
	case []uint64:
		convertFrom(dst, s)
	case []float32:
		convertFrom(dst, s)
	case []float64:
		convertFrom(dst, s)
	}
}

func convertFrom[S integer | float](dst any, src []S) {
	switch d := dst.(type) {
	case []bool:
		for i, v := range src {
			d[i] = v != 0
		}
	case []uint8:
		convertTo(d, src)
	case []int32:
		convertTo(d, src)
	case []int64:
		convertTo(d, src)
	case []uint32:
		convertTo(d, src)
	case []uint64:
		convertTo(d, src)
	case []float32:
		convertTo(d, src)
	case []float64:
		convertTo(d, src)
	}
}

func convertTo[D, S integer | float](dst []D, src []S) {
	for i, v := range src {
		dst[i] = D(v)
	}
}

// bitcastData copies the bits of values to a type that may have another size.
func bitcastData(dst, src any) {
	from, n, _ := sliceInfo(src)
	to, _, _ := sliceInfo(dst)
	fs, ts := from.Size(), to.Size()
	for i := range n {
		b := bitsOf(src, i)
		switch {
		case fs >= ts:
			for k := range fs / ts {
				setBits(dst, i*fs/ts+k, b>>(8*ts*k), ts)
			}
		default:
			k := ts / fs
			if i%k == 0 {
				setBits(dst, i/k, 0, ts)
			}
			setBits(dst, i/k, bitsOf(dst, i/k)|b<<(8*fs*(i%k)), ts)
		}
	}
}

func bitsOf(data any, i int) uint64 {
	switch v := data.(type) {
	case []uint8:
		return uint64(v[i])
	case []int32:
		return uint64(uint32(v[i]))
	case []int64:
		return uint64(v[i])
	case []uint32:
		return uint64(v[i])
	case []uint64:
		return v[i]
	case []float32:
		return uint64(math.Float32bits(v[i]))
	case []float64:
		return math.Float64bits(v[i])
	}
	panic(fmt.Sprintf("cpu: bits of %T", data))
}

func setBits(data any, i int, b uint64, size int) {
	switch v := data.(type) {
	case []uint8:
		v[i] = uint8(b)
	case []int32:
		v[i] = int32(uint32(b))
	case []int64:
		v[i] = int64(b)
	case []uint32:
		v[i] = uint32(b)
	case []uint64:
		v[i] = b
	case []float32:
		v[i] = math.Float32frombits(uint32(b))
	case []float64:
		v[i] = math.Float64frombits(b)
	default:
		panic(fmt.Sprintf("cpu: %d bytes as %T", size, data))
	}
}

// runRandom draws bits: a stream of little-endian 64-bit words cut into values.
func runRandom(out []*Buffer, state *Buffer) {
	s := state.Data.([]uint64)
	r := rand.NewPCG(s[0], s[1])
	third := s[2]
	_, n, _ := sliceInfo(out[1].Data)
	size := out[1].Shape.DType.Size()
	var word uint64
	left := 0
	for i := range n {
		if left == 0 {
			word, left = r.Uint64(), 8
		}
		setBits(out[1].Data, i, word, size)
		left -= size
		if size < 8 {
			word >>= 8 * size
		}
	}
	next := out[0].Data.([]uint64)
	b, err := r.MarshalBinary() // "pcg:", two big-endian words
	if err != nil || len(b) != 20 {
		panic(fmt.Sprintf("cpu: state of the random generator: %v", err))
	}
	// Read little-endian, as GoMLX's backend does: the state is only ever fed back.
	next[0], next[1], next[2] = binary.LittleEndian.Uint64(b[4:]), binary.LittleEndian.Uint64(b[12:]), third
}
