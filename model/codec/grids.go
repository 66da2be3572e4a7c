package codec

import (
	_ "embed"
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
)

// The iq1, iq2 and iq3 formats store groups of eight (iq3: four) magnitudes as an index into a fixed grid of points that
// their authors chose. grids.bin holds the grids as 16-bit little-endian words, one a point: eight coordinates of two bits,
// the first lowest (iq3: four of three bits). The coordinates index the list of magnitudes.

//go:embed grids.bin
var gridData []byte

// grid is a list of points.
type grid [][8]int8

// grids are all grids, expanded on first use.
type grids struct {
	iq2xxs, iq2xs, iq2s, iq1, iq3xxs, iq3s grid
}

var allGrids = sync.OnceValue(func() *grids {
	data := gridData
	read := func(n, values, width int, levels []int8) grid {
		g := make(grid, n)
		for i := range g {
			word := binary.LittleEndian.Uint16(data[2*i:])
			for j := range values {
				g[i][j] = levels[word>>(width*j)&(1<<width-1)]
			}
		}
		data = data[2*n:]
		return g
	}
	two, one := []int8{8, 25, 43}, []int8{-1, 0, 1}
	return &grids{
		iq2xxs: read(256, 8, 2, two),
		iq2xs:  read(512, 8, 2, two),
		iq2s:   read(1024, 8, 2, two),
		iq1:    read(2048, 8, 2, one),
		iq3xxs: read(256, 4, 3, []int8{4, 12, 20, 28, 36, 44, 52, 62}),
		iq3s:   read(512, 4, 3, []int8{1, 3, 5, 7, 9, 11, 13, 15}),
	}
})

// evenSigns returns the eight sign bits that seven stored ones stand for: the number of negative signs is even.
func evenSigns(seven uint32) uint8 {
	s := uint8(seven & 127)
	return s | uint8(bits.OnesCount8(s)&1)<<7
}

// signed sets y[j] to d*p[j], negated where bit j of signs is set.
func signed(y []float32, d float32, p []int8, signs uint8) {
	y = y[:len(p)]
	for j, v := range p {
		y[j] = math.Float32frombits(math.Float32bits(d*float32(v)) ^ uint32(signs>>j&1)<<31)
	}
}
