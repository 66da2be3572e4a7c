package quantize

import (
	"math"
	"sort"
)

// cell is one block being rounded: its parameters are fixed, its codes are not.
type cell struct {
	g     *grid
	block []byte // the parameters, code bits clear
	// affine: value = offset[i] + step[i]*k
	offset, step []float32
	// otherwise: the values of all codes, [values, 1<<bits], and the codes by rising value
	level []float32
	rank  []int
	place []uint8 // of each value: its code's place among the rising values
	// own formats
	scale, zero float32
	codes       []int16
}

// fit fixes the parameters of the block for the values x. importance, where it is not nil, says what squared errors
// count; own formats then search the range that loses least by it, and without take the range of the values.
func (g *grid) fit(x, importance []float32) *cell {
	if g.own {
		scale, zero := g.codes.Fit(x)
		if importance != nil {
			scale, zero = g.clip(x, importance, scale, zero)
		}
		return &cell{g: g, scale: scale, zero: zero, codes: make([]int16, len(x))}
	}
	c := &cell{g: g, block: make([]byte, g.bytes), place: make([]uint8, g.values)}
	g.c.Encode(c.block, x, importance)
	if g.affine {
		c.offset, c.step = make([]float32, g.values), make([]float32, g.values)
		g.fill(c.block, g.order[0])
		g.c.Decode(c.offset, c.block)
		g.fill(c.block, g.order[len(g.order)-1])
		g.c.Decode(c.step, c.block)
		for i := range c.step {
			c.step[i] = (c.step[i] - c.offset[i]) / float32(len(g.order)-1)
		}
	} else {
		c.table()
	}
	g.fill(c.block, 0)
	return c
}

// clipSteps are the shares of the full range that clip tries, in 32nds.
const clipSteps = 16

// clip returns the parameters of an own format that lose least by the importances: ranges from the full one down to half
// of it are tried. Values outside are clamped, and those inside get finer steps.
func (g *grid) clip(x, importance []float32, scale, zero float32) (float32, float32) {
	best, bestScale, bestZero := math.Inf(1), scale, zero
	y := make([]float32, len(x))
	for k := range clipSteps + 1 {
		share := 1 - float32(k)/32
		for i, v := range x {
			y[i] = v * share
		}
		s, z := g.codes.Fit(y)
		var e float64
		for i, v := range x {
			d := float64(v - s*(float32(g.codes.Round(v, s, z))-z))
			e += float64(importance[i]) * d * d
		}
		if e < best {
			best, bestScale, bestZero = e, s, z
		}
	}
	return bestScale, bestZero
}

// table decodes all codes of all values.
func (c *cell) table() {
	g, n := c.g, 1<<c.g.bits
	c.level, c.rank = make([]float32, g.values*n), make([]int, g.values*n)
	out := make([]float32, g.values)
	for code := range n {
		g.fill(c.block, code)
		g.c.Decode(out, c.block)
		for i, v := range out {
			c.level[i*n+code] = v
		}
	}
	for i := range g.values {
		rank, level := c.rank[i*n:(i+1)*n], c.level[i*n:(i+1)*n]
		for code := range rank {
			rank[code] = code
		}
		sort.SliceStable(rank, func(a, b int) bool { return level[rank[a]] < level[rank[b]] })
	}
}

// toEven, added and subtracted again, rounds a float32 below 2^22 to the next integer, ties to even: its last place is 1.
const toEven = 1 << 23

// reach returns how far a value may move from that of its code and still have it; 0 where that is not known.
func (c *cell) reach(i int) float32 {
	switch {
	case c.g.own:
		return 0.49 * c.scale
	case c.g.affine:
		return 0.49 * max(c.step[i], -c.step[i])
	}
	return 0
}

// round gives value i the code that is nearest to v and returns what it decodes to.
func (c *cell) round(i int, v float32) float32 {
	g := c.g
	switch {
	case g.own:
		c.codes[i] = g.codes.Round(v, c.scale, c.zero)
		return c.scale * (float32(c.codes[i]) - c.zero)
	case g.affine:
		offset, step, k := c.offset[i], c.step[i], float32(0)
		if step != 0 {
			if k = (v - offset) / step; k > g.last {
				k = g.last
			} else if !(k > 0) {
				k = 0
			}
			k = (k + toEven) - toEven
		}
		c.place[i] = uint8(k)
		return offset + k*step
	}
	n := 1 << g.bits
	rank, level := c.rank[i*n:(i+1)*n], c.level[i*n:(i+1)*n]
	k := sort.Search(n-1, func(k int) bool { return level[rank[k+1]]-v >= v-level[rank[k]] })
	c.place[i] = uint8(k)
	return level[rank[k]]
}

// put writes the block.
func (c *cell) put(dst []byte) {
	g := c.g
	if g.own {
		g.group.Put(dst, c.scale, c.zero, c.codes)
		return
	}
	copy(dst, c.block)
	for i, k := range c.place {
		if g.affine {
			g.set(dst, i, g.order[k])
		} else {
			g.set(dst, i, c.rank[i<<g.bits+int(k)])
		}
	}
}
