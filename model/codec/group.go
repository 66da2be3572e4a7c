package codec

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
)

// The group formats hold what the packed layouts of safetensors checkpoints say (compressed-tensors, GPTQ, AWQ), without
// any rounding of its own: a group of values in one row has a float32 scale and, when asymmetric, a float32 zero point.
//
//	int4g128   x = scale * q           q in [-8, 7],   128 values a group
//	int8       x = scale * q           q in [-128,127], one group a row
//	uint4g64   x = scale * (q - zero)  q in [0, 15]
//	int4g128h  as int4g128, with scales that are float16 numbers
//	uint8      x = scale * (q - zero)  q in [0, 255]; also holds codes of 2, 3, 5 or 6 bits
//
// A block is the scale, the zero point if there is one, both little endian, then the codes: bytes (two's complement where
// signed), or nibbles, the first of two values in the low one, signed codes plus 8.

// Group is a group format.
type Group struct {
	Bits int  // of one code: 4 or 8
	Size int  // values in a group; 0 when a group is a whole row
	Zero bool // codes are unsigned and a zero point is stored
	// Half says that scales are float16 and zero points at least 1, as the layout of AutoGPTQ stores them.
	Half bool
}

// maxGroup is the largest group size: twice the widest matrix that any model has is plenty.
const maxGroup = 1 << 20

var groups sync.Map // Group to *group: one codec for each, so that codecs compare

// parametric builds formats whose name carries a size, such as int4g128. It returns nil for other names.
func parametric(name string) Codec {
	if name == "fp8" {
		return rowFP8{}
	}
	var g Group
	rest, unsigned := strings.CutPrefix(name, "u")
	rest, g.Half = strings.CutSuffix(rest, "h")
	bits, size, sized := strings.Cut(rest, "g")
	g.Zero = unsigned
	switch bits {
	case "int4":
		g.Bits = 4
	case "int8":
		g.Bits = 8
	default:
		return nil
	}
	if sized {
		n, err := strconv.Atoi(size)
		if err != nil || n < 2 || n > maxGroup || n%2 != 0 || strconv.Itoa(n) != size {
			return nil
		}
		g.Size = n
	}
	return g.codec()
}

func (g Group) codec() Codec {
	c, _ := groups.LoadOrStore(g, &group{g})
	return c.(*group)
}

// Name returns the name under which Lookup knows the format.
func (g Group) Name() string {
	name := fmt.Sprintf("int%d", g.Bits)
	if g.Zero {
		name = "u" + name
	}
	if g.Size > 0 {
		name += fmt.Sprintf("g%d", g.Size)
	}
	if g.Half {
		name += "h"
	}
	return name
}

// GroupOf returns the parameters of a group format, and whether c is one.
func GroupOf(c Codec) (Group, bool) {
	if g, ok := c.(*group); ok {
		return g.Group, true
	}
	return Group{}, false
}

// head returns the bytes before the codes.
func (g Group) head() int {
	if g.Zero {
		return 8
	}
	return 4
}

// Range returns the least and the largest code.
func (g Group) Range() (least, most int16) {
	if g.Zero {
		return 0, int16(1)<<g.Bits - 1
	}
	return -(int16(1) << (g.Bits - 1)), int16(1)<<(g.Bits-1) - 1
}

// Bytes returns the size of a block of n values; n is even.
func (g Group) Bytes(n int) int { return g.head() + n*g.Bits/8 }

// Put writes a block: the scale, the zero point where the format has one, and len(codes) codes, each inside Range.
// len(block) is Bytes(len(codes)).
func (g Group) Put(block []byte, scale, zero float32, codes []int16) {
	binary.LittleEndian.PutUint32(block, math.Float32bits(scale))
	if g.Zero {
		binary.LittleEndian.PutUint32(block[4:], math.Float32bits(zero))
	}
	q := block[g.head():]
	if g.Bits == 8 {
		q = q[:len(codes)]
		for i, c := range codes {
			q[i] = byte(c)
		}
		return
	}
	var bias int16
	if !g.Zero {
		bias = 8
	}
	for i := range q {
		q[i] = byte(codes[2*i]+bias)&15 | byte(codes[2*i+1]+bias)<<4
	}
}

// Get reads a block written by Put into codes and returns its scale and zero point, 0 where the format has none.
func (g Group) Get(block []byte, codes []int16) (scale, zero float32) {
	scale = math.Float32frombits(binary.LittleEndian.Uint32(block))
	if g.Zero {
		zero = math.Float32frombits(binary.LittleEndian.Uint32(block[4:]))
	}
	q := block[g.head():]
	for i := range codes {
		switch {
		case g.Bits == 8 && g.Zero:
			codes[i] = int16(q[i])
		case g.Bits == 8:
			codes[i] = int16(int8(q[i]))
		case g.Zero:
			codes[i] = int16(q[i/2] >> (i % 2 * 4) & 15)
		default:
			codes[i] = int16(q[i/2]>>(i%2*4)&15) - 8
		}
	}
	return scale, zero
}

// Fit returns the scale and zero point that round to nearest uses for the values of one group: the range of the values,
// zero included, over the number of steps. A group of zeros gets the range [-1,1]. It is the grid of the GPTQ reference
// and of compressed-tensors, but that values of one sign are not clipped in symmetric formats.
func (g Group) Fit(x []float32) (scale, zero float32) {
	var least, top float32
	for _, v := range x {
		least, top = min(least, v), max(top, v)
	}
	if !g.Zero {
		top = max(-least, top)
		least = -top
	}
	if least == top {
		least, top = -1, 1
	}
	scale = (top - least) / float32(int(1)<<g.Bits-1)
	if g.Zero {
		zero = float32(nearest(-least / scale))
	}
	if g.Half {
		if g.Zero && zero < 1 {
			scale, zero = top/float32(int(1)<<g.Bits-2), 1
		}
		// The least float16 above zero is 2^-24, the largest 65504.
		scale = F16ToF32(F32ToF16(min(max(scale, 1.0/(1<<24)), 65504)))
	}
	return scale, zero
}

// Round returns the code of v on a grid.
func (g Group) Round(v, scale, zero float32) int16 {
	least, most := g.Range()
	whole := float32(int32(zero)) // added after rounding, as the references do; ties would go elsewhere
	q := nearest(v/scale+(zero-whole)) + int32(whole)
	return int16(max(int32(least), min(int32(most), q)))
}

// group is the codec of a Group.
type group struct{ Group }

// Block returns 0, 0 when a group is a whole row: the block is then as long as the row, whatever that is.
func (g *group) Block() (values, bytes int) {
	if g.Size == 0 {
		return 0, 0
	}
	return g.Size, g.Bytes(g.Size)
}

// split returns the group length of n values in bytes bytes.
func (g *group) split(n, bytes int) int {
	if g.Size > 0 {
		return g.Size
	}
	// Of whole rows the heads tell the number: bytes = rows*head + n*bits/8.
	rows := (bytes - n*g.Bits/8) / g.head()
	if rows == 0 {
		return n
	}
	return n / rows
}

func (g *group) Decode(dst []float32, src []byte) {
	n := g.split(len(dst), len(src))
	for len(dst) > 0 {
		b := src[:g.Bytes(n)]
		scale := math.Float32frombits(binary.LittleEndian.Uint32(b))
		var zero float32
		if g.Zero {
			zero = math.Float32frombits(binary.LittleEndian.Uint32(b[4:]))
		}
		g.decode(dst[:n], b[g.head():], scale, zero)
		dst, src = dst[n:], src[len(b):]
	}
}

func (g *group) decode(y []float32, q []byte, scale, zero float32) {
	if g.Bits == 8 {
		q = q[:len(y)]
		for i, c := range q {
			if g.Zero {
				y[i] = scale * (float32(c) - zero)
			} else {
				y[i] = scale * float32(int8(c))
			}
		}
		return
	}
	if !g.Zero {
		zero = 8
	}
	// Sixteen values answer for the whole group.
	var value [16]float32
	for c := range value {
		value[c] = scale * (float32(c) - zero)
	}
	y = y[:2*len(q)]
	for i, c := range q {
		y[2*i] = value[c&15]
		y[2*i+1] = value[c>>4]
	}
}

func (g *group) Encode(dst []byte, src, _ []float32) {
	n := g.split(len(src), len(dst))
	codes := make([]int16, n)
	for len(src) > 0 {
		x := src[:n]
		scale, zero := g.Fit(x)
		for i, v := range x {
			codes[i] = g.Round(v, scale, zero)
		}
		b := dst[:g.Bytes(n)]
		g.Put(b, scale, zero, codes)
		src, dst = src[n:], dst[len(b):]
	}
}
