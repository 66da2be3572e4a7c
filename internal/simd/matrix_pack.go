package simd

import (
	"encoding/binary"
	"math"
)

// Packing: one stored block of one row goes to its places in a tile. h is the header of the section, c the codes of its
// blocks; lane is the row in the tile. Codes are moved in words of 4 bytes, which is a group of 4 columns.

var le = binary.LittleEndian

// put16 and put32 store row lane's number of an array of 16.
func put16(h []byte, lane int, src []byte) { copy(h[2*lane:2*lane+2], src[:2]) }
func put32(h []byte, lane int, w uint32)   { le.PutUint32(h[4*lane:], w) }

// words moves consecutive words of src to consecutive planes.
func words(c []byte, lane int, src []byte) {
	for p := 0; 4*p < len(src); p++ {
		le.PutUint32(c[64*p+4*lane:], le.Uint32(src[4*p:]))
	}
}

func packQ80(h, c []byte, lane int, src []byte) {
	put16(h, lane, src)
	words(c, lane, src[2:34])
}

// packQ40 serves all blocks of a half scale and 16 bytes, in which byte j holds values j and j+16: the order of the
// planes.
func packQ40(h, c []byte, lane int, src []byte) {
	put16(h, lane, src)
	words(c, lane, src[2:18])
}

func packQ41(h, c []byte, lane int, src []byte) {
	put16(h, lane, src)
	put16(h[32:], lane, src[2:])
	words(c, lane, src[4:20])
}

func packMXFP4(h, c []byte, lane int, src []byte) {
	h[lane] = src[0]
	words(c, lane, src[1:17])
}

// bitPlane turns 32 bits, bit j of value j, into the word of a plane: byte q has bit 4i+q in bit i.
func bitPlane(bits uint32) uint32 {
	var w uint32
	for q := range 4 {
		x := bits >> q & 0x11111111
		x = (x | x>>3) & 0x03030303
		x = (x | x>>6) & 0x000f000f
		w |= (x | x>>12) & 0xff << (8 * q)
	}
	return w
}

func packQ50(h, c []byte, lane int, src []byte) {
	put16(h, lane, src)
	words(c, lane, src[6:22])
	put32(c[256:], lane, bitPlane(le.Uint32(src[2:])))
}

func packQ51(h, c []byte, lane int, src []byte) {
	put16(h, lane, src)
	put16(h[32:], lane, src[2:])
	words(c, lane, src[8:24])
	put32(c[256:], lane, bitPlane(le.Uint32(src[4:])))
}

// packQ4K: of 32 bytes the low nibbles are one block and the high ones the next.
func packQ4K(h, c []byte, lane int, src []byte) {
	putHeaderQ4K(h, lane, src)
	nibblesQ4K(c, 256, lane, src[16:144])
}

func packQ5K(h, c []byte, lane int, src []byte) {
	putHeaderQ4K(h, lane, src)
	nibblesQ4K(c, 320, lane, src[48:176])
	upper(c[256:], 320, lane, src[16:48])
}

// putHeaderQ4K: bytes 0-3 and 4-7 of the 12 behind the halves hold scales 0-3 and minimums 0-3 in their low six bits, bytes 8-11 the low
// nibbles of scales and minimums 4-7, whose upper two bits are those of bytes 0-3 and 4-7.
func putHeaderQ4K(h []byte, lane int, src []byte) {
	put16(h, lane, src)
	put16(h[32:], lane, src[2:])
	h, src = h[64+lane:], src[4:16]
	for b := range 4 {
		at, next := h[32*b:], h[32*(b+4):]
		at[0], at[16] = src[b]&63, src[4+b]&63
		next[0], next[16] = src[8+b]&15|src[b]>>6<<4, src[8+b]>>4|src[4+b]>>6<<4
	}
}

func nibblesQ4K(c []byte, block, lane int, src []byte) {
	const low, high = 0x0f0f0f0f, 0xf0f0f0f0
	for k := range 4 {
		a, b := c[2*k*block+4*lane:], c[(2*k+1)*block+4*lane:]
		for p := range 4 {
			x, y := le.Uint32(src[32*k+4*p:]), le.Uint32(src[32*k+16+4*p:])
			le.PutUint32(a[64*p:], x&low|y&low<<4)
			le.PutUint32(b[64*p:], x&high>>4|y&high)
		}
	}
}

// upper stores the bit planes of 8 blocks: bit b of byte j belongs to value j of block b.
func upper(c []byte, block, lane int, src []byte) {
	var w [8]uint32
	for i := range 8 {
		x := le.Uint32(src[4*i:])
		for b := range w {
			w[b] |= x >> b & 0x01010101 << i
		}
	}
	for b, x := range w {
		put32(c[b*block:], lane, x)
	}
}

// packQ6K: of each half of 128 values, 64 bytes of low nibbles and 32 of upper pairs make 4 blocks: block b has the low
// (b < 2) or high nibbles of bytes 32(b%2) on, and the pair b of each byte of pairs.
func packQ6K(h, c []byte, lane int, src []byte) {
	put16(h, lane, src[208:])
	for i, s := range src[192:208] {
		h[32+16*i+lane] = s
	}
	for b := range 8 {
		low, pairs := src[64*(b/4)+32*(b%2):], src[128+32*(b/4):]
		out := c[384*b+4*lane:]
		shift := b % 4 / 2 * 4
		for p := range 4 {
			x, y := le.Uint32(low[4*p:])>>shift&0x0f0f0f0f, le.Uint32(low[16+4*p:])>>shift&0x0f0f0f0f
			le.PutUint32(out[64*p:], x|y<<4)
		}
		pairPlanes(out[256:], pairs, b%4)
	}
}

// pairPlanes stores two planes of pairs of bits: pair n of the bytes of src.
func pairPlanes(out, src []byte, n int) {
	for g := range 2 {
		var w uint32
		for j := range 4 {
			w |= le.Uint32(src[4*(4*g+j):]) >> (2 * n) & 0x03030303 << (2 * j)
		}
		le.PutUint32(out[64*g:], w)
	}
}

func packQ2K(h, c []byte, lane int, src []byte) {
	put16(h, lane, src[80:])
	put16(h[32:], lane, src[82:])
	words(h[64:], lane, src[:16])
	for b := range 8 {
		pairPlanes(c[128*b+4*lane:], src[16+32*(b/4):], b%4)
	}
}

func packQ3K(h, c []byte, lane int, src []byte) {
	put16(h, lane, src[108:])
	words(h[32:], lane, src[96:108])
	for b := range 8 {
		pairPlanes(c[192*b+4*lane:], src[32+32*(b/4):], b%4)
	}
	upper(c[128:], 192, lane, src[:32])
}

func packIQ4XS(h, c []byte, lane int, src []byte) {
	put16(h, lane, src)
	put32(h[32:], lane, le.Uint32(src[4:]))
	put16(h[96:], lane, src[2:])
	for b := range 8 {
		words(c[256*b:], lane, src[8+16*b:24+16*b])
	}
}

// packGroup: a float32 scale, perhaps a zero point, and codes in their own order. The number kept for the zero point
// times the scale is the minimum.
func (f *quantFormat) packGroup(h, c []byte, lane int, src []byte) {
	src = f.packHead(h, lane, src)
	var last [32]byte
	per := f.group.bits * blockCols / 8
	for ; len(src) > 0; c = c[blockBytes[f.codes]:] {
		b := src
		if len(src) >= per {
			b, src = src[:per], src[per:]
		} else {
			clear(last[:])
			copy(last[:], src)
			b, src = last[:per], nil
		}
		switch {
		case f.group.bits == 4:
			nibbles(c, lane, b)
		case f.group.offset:
			for p := range 8 {
				put32(c[64*p:], lane, le.Uint32(b[4*p:])^0x80808080)
			}
		default:
			words(c, lane, b)
		}
	}
}

// packHead stores the numbers before the codes of a group and returns what follows them.
func (f *quantFormat) packHead(h []byte, lane int, src []byte) []byte {
	put32(h, lane, le.Uint32(src))
	if !f.group.offset {
		return src[4:]
	}
	put32(h[64:], lane, math.Float32bits(-math.Float32frombits(le.Uint32(src[4:]))))
	return src[8:]
}

// nibbles stores a block of nibbles in consecutive order.
func nibbles(c []byte, lane int, src []byte) {
	for p := range 4 {
		put32(c[64*p:], lane, spread(le.Uint16(src[2*p:]))|spread(le.Uint16(src[8+2*p:]))<<4)
	}
}

// spread moves four nibbles to the low halves of four bytes.
func spread(x uint16) uint32 {
	y := uint32(x)
	y = (y | y<<8) & 0x00ff00ff
	return (y | y<<4) & 0x0f0f0f0f
}
