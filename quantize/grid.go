package quantize

import (
	"fmt"
	"math"
	"sort"
	"sync"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/model/codec"
)

// A grid is a format seen by an algorithm that rounds one value at a time: the parameters of a block (scales, minima) are
// fixed first, then each value is rounded to the nearest one it can have under them.
//
// Which bits of a block are codes, and of which value, is found by trying: flip each bit of an encoded block and see what
// decodes otherwise. So every format of package codec whose codes stand for single values is a grid, new ones included;
// codebook formats, where one code stands for several values, are not.
type grid struct {
	c      codec.Codec
	values int // of a block; 0 means a whole row
	bytes  int
	own    bool        // pare's own group formats need no trying:
	group  codec.Group // how they are stored,
	codes  codec.Group // and what codes they may use: fewer bits than are stored, for codes of 2, 3, 5 or 6

	bits   int     // of each code
	place  [][]int // place[i][b] is the bit of the block that is bit b of value i's code
	runs   [][]run // the same as stretches of bits that lie together
	affine bool    // values are offset + step * (sum of weights of the code's bits)
	weight []int   // of each code bit, in steps
	order  []int   // codes of affine formats by rising step count
	steps  []int   // that count, rising
	last   float32 // the largest of them
	zeros  []byte  // a block mask that clears all code bits
}

// run is a stretch of bits of a code within one byte of the block: its bits from one on, to the byte's from another on.
type run struct {
	at             int
	from, to, mask uint8 // mask is of the bits before they are moved to their place
}

// runsOf joins bits.
func runsOf(bits []int) []run {
	var out []run
	for b, bit := range bits {
		if b > 0 && bit == bits[b-1]+1 && bit%8 != 0 {
			last := &out[len(out)-1]
			last.mask = last.mask<<1 | 1
			continue
		}
		out = append(out, run{bit / 8, uint8(b), uint8(bit % 8), 1})
	}
	return out
}

var gridCache sync.Map // codec.Codec to *grid, or error

// gridOf returns a format as a grid, or an error where its codes do not stand for single values.
func gridOf(c codec.Codec) (*grid, error) {
	if v, ok := gridCache.Load(c); ok {
		if g, ok := v.(*grid); ok {
			return g, nil
		}
		return nil, v.(error)
	}
	g, err := probe(c)
	if err != nil {
		err = fmt.Errorf("%s has no codes of single values: %w", c.Name(), err)
		gridCache.Store(c, err)
		return nil, err
	}
	gridCache.Store(c, g)
	return g, nil
}

// probe finds the code bits of a format.
func probe(c codec.Codec) (*grid, error) {
	if group, ok := codec.GroupOf(c); ok {
		return &grid{c: c, values: group.Size, own: true, group: group, codes: group}, nil
	}
	values, bytes := c.Block()
	g := &grid{c: c, values: values, bytes: bytes, place: make([][]int, values)}
	if values < 2 {
		return nil, fmt.Errorf("it stores plain numbers")
	}
	// A code bit changes one value, or none where two codes mean the same; several blocks find them all.
	owner := make([]int, 8*bytes) // value+1, 0 for none yet, -1 for parameters
	var block []byte
	for seed := range uint64(8) {
		block = randomBlock(c, seed)
		g.probeBlock(block, owner)
	}
	g.zeros = make([]byte, bytes)
	for bit, o := range owner {
		if o <= 0 {
			g.zeros[bit/8] |= 1 << (bit % 8) // keep it
			continue
		}
		g.place[o-1] = append(g.place[o-1], bit)
	}
	g.bits = len(g.place[0])
	for i := range g.place {
		if n := len(g.place[i]); n != g.bits || n == 0 || n > 8 {
			return nil, fmt.Errorf("value %d has %d bits of its own, value 0 has %d", i, n, g.bits)
		}
		g.runs = append(g.runs, runsOf(g.place[i]))
	}
	return g, g.learn(block)
}

func randomBlock(c codec.Codec, seed uint64) []byte {
	values, bytes := c.Block()
	x := make([]float32, values)
	s := rng.New(seed)
	for i := range x {
		x[i] = float32(s.Normal())
	}
	block := make([]byte, bytes)
	c.Encode(block, x, nil)
	return block
}

// probeBlock flips every bit of a block and notes whose value changes.
func (g *grid) probeBlock(block []byte, owner []int) {
	base, other := make([]float32, g.values), make([]float32, g.values)
	g.c.Decode(base, block)
	for bit := range owner {
		block[bit/8] ^= 1 << (bit % 8)
		g.c.Decode(other, block)
		block[bit/8] ^= 1 << (bit % 8)
		for i := range base {
			if math.Float32bits(base[i]) == math.Float32bits(other[i]) {
				continue
			}
			if owner[bit] == 0 || owner[bit] == i+1 {
				owner[bit] = i + 1
			} else {
				owner[bit] = -1
			}
		}
	}
}

// learn finds out whether codes are affine, and the weight of each of their bits.
func (g *grid) learn(block []byte) error {
	levels := make([]float64, 1<<g.bits) // of value 0
	out := make([]float32, g.values)
	for code := range levels {
		g.fill(block, code)
		g.c.Decode(out, block)
		levels[code] = float64(out[0])
	}
	unit := math.Inf(1)
	for b := range g.bits {
		if d := math.Abs(levels[1<<b] - levels[0]); d > 0 {
			unit = min(unit, d)
		}
	}
	g.affine = !math.IsInf(unit, 0)
	g.weight = make([]int, g.bits)
	for b := range g.bits {
		g.weight[b] = int(math.Round((levels[1<<b] - levels[0]) / unit))
	}
	g.order = make([]int, len(levels))
	count := make([]int, len(levels))
	for code := range levels {
		g.order[code] = code
		for b := range g.bits {
			count[code] += code >> b & 1 * g.weight[b]
		}
		if math.Abs(levels[0]+unit*float64(count[code])-levels[code]) > 1e-3*unit {
			g.affine = false
		}
	}
	if !g.affine {
		return nil
	}
	sort.SliceStable(g.order, func(i, j int) bool { return count[g.order[i]] < count[g.order[j]] })
	for i, code := range g.order {
		if g.steps = append(g.steps, count[code]); i > 0 && g.steps[i] != g.steps[i-1]+1 {
			g.affine = false
		}
	}
	g.last = float32(len(g.order) - 1)
	return nil
}

// fill gives every value of a block the same code.
func (g *grid) fill(block []byte, code int) {
	for i := range block {
		block[i] &= g.zeros[i]
	}
	for i := range g.place {
		g.set(block, i, code)
	}
}

// set gives one value of a block, whose code bits are clear, a code.
func (g *grid) set(block []byte, i, code int) {
	for _, r := range g.runs[i] {
		block[r.at] |= (byte(code>>r.from) & r.mask) << r.to
	}
}
