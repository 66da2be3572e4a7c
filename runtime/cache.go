package runtime

import (
	"fmt"

	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// pageKeys is how many positions one page of the cache holds. Pages let a cache grow without copying and a sliding
// window forget; their borders are fixed positions, so that attention adds up in the same order however a prompt is cut.
const pageKeys = 64

const panel = 16 // columns that lie together for simd.MulPanels

// cacheSpec is the shape of the keys and values of one attention node, and how they are stored.
//
// A page is the keys and values of 64 positions: for each head keyDim x 64 values of keys and 64 x valuePad of values, and, where they are bytes, behind those of all
// heads [keyDim/32][64] scales of keys and [valueDim/32][64] of values for each. Keys lie as products of queries and
// keys read them: in panels of 16 keys, in a panel dimension after dimension. Values lie position after position, padded
// to a multiple of 16. Bytes lie for simd.MulPairs: two dimensions of a panel of 16 keys side by side, and values in panels of
// 16 dimensions, two positions side by side.
type cacheSpec struct {
	kvHeads, keyDim, valueDim int
	window                    int
	valuePad                  int
	kind                      cacheKind
}

// cacheKind is how keys and values are stored.
type cacheKind string

const (
	cacheF32  cacheKind = "f32"
	cacheF16  cacheKind = "f16"
	cacheBF16 cacheKind = "bf16"
	cacheQ80  cacheKind = "q8_0" // bytes, with a scale for each 32 of a position's values
)

// parseCache reads Options.Cache.
func parseCache(s string) (cacheKind, error) {
	switch k := cacheKind(s); k {
	case "":
		return cacheF32, nil
	case cacheF32, cacheF16, cacheBF16, cacheQ80:
		return k, nil
	}
	return "", fmt.Errorf("cache type %q: want f32, f16, bf16 or q8_0", s)
}

func specOf(a *model.Attention, kind cacheKind) (cacheSpec, error) {
	s := cacheSpec{a.KVHeads, a.HeadDim, a.ValueDim, a.Window, (a.ValueDim + panel - 1) / panel * panel, kind}
	if kind == cacheQ80 && (s.keyDim%32 != 0 || s.valueDim%32 != 0) {
		return s, fmt.Errorf("a q8_0 cache needs heads of a multiple of 32 values; this model's have %d and %d", s.keyDim, s.valueDim)
	}
	return s, nil
}

// cache holds the keys and values of one attention node of one session: pages[p] starts at position p*pageKeys and is nil
// before it is made, and once it has left the window.
type cache struct {
	spec   cacheSpec
	memory *pageMemory
	pages  [][]byte
	spare  [][]byte
	half   []byte // a key on its way into a page
	codes  []int8 // a key or a value on its way there
	scale  []float32
}

func (s *cacheSpec) headKeys() int   { return pageKeys * s.keyDim }
func (s *cacheSpec) headValues() int { return pageKeys * s.valuePad }
func (s *cacheSpec) headSize() int   { return s.headKeys() + s.headValues() }
func (s *cacheSpec) headScales() int { return pageKeys * (s.keyDim + s.valueDim) / 32 }

// pageBytes is the memory of a page.
func (s *cacheSpec) pageBytes() int {
	n := s.kvHeads * s.headSize()
	switch s.kind {
	case cacheF32:
		return 4 * n
	case cacheQ80:
		return n + 4*s.kvHeads*s.headScales()
	}
	return 2 * n
}

// pageMemory is what pages of a session's caches are cut from. A query reads all of them, one after the other, so those of long texts lie on large
// pages: with small ones it waits for a translation every few thousand bytes. Short texts would leave most of a large page unused.
type pageMemory struct {
	total int    // bytes that were handed out, the first smallPages of them as they come
	chunk []byte // what is left of the last one
}

const (
	smallPages = 4 << 20
	pageChunk  = 4 << 20
)

// take returns n zero bytes from a multiple of 8 on.
func (m *pageMemory) take(n int) []byte {
	if m.total += n; m.total <= smallPages {
		return make([]byte, n)
	}
	size := (n + 63) &^ 63
	if len(m.chunk) < size {
		m.chunk = simd.LargePages(max(size, pageChunk))
	}
	b := m.chunk[:n:n]
	m.chunk = m.chunk[size:]
	return b
}

// page returns the page of a position, making it where it is new; it stays where it is until another one is made.
func (c *cache) page(pos int) []byte {
	p := pos / pageKeys
	for len(c.pages) <= p {
		c.pages = append(c.pages, nil)
	}
	if c.pages[p] == nil {
		if n := len(c.spare); n > 0 {
			c.pages[p], c.spare = c.spare[n-1], c.spare[:n-1]
		} else {
			c.pages[p] = c.memory.take(c.spec.pageBytes())
		}
	}
	return c.pages[p]
}

// put stores the key and value rows of position pos.
func (c *cache) put(pos int, k, v []float32) {
	s, p, i := &c.spec, c.page(pos), pos%pageKeys
	for h := range s.kvHeads {
		key, value := k[h*s.keyDim:(h+1)*s.keyDim], v[h*s.valueDim:(h+1)*s.valueDim]
		at := h*s.headSize() + i/panel*panel*s.keyDim + i%panel // of the key's first value; the others follow 16 apart
		vt := h*s.headSize() + s.headKeys() + i*s.valuePad
		switch s.kind {
		case cacheF32:
			f, _ := simd.Float32s(p)
			scatter(f[at:], key)
			copy(f[vt:], value)
		case cacheQ80:
			c.putQ80(p, h, i, key, value)
		default:
			c.putHalf(p, at, vt, key, value)
		}
	}
}

// scatter stores a key's values in its panel.
func scatter[T any](dst, key []T) {
	for d, x := range key {
		dst[d*panel] = x
	}
}

func (c *cache) putHalf(p []byte, at, vt int, key, value []float32) {
	narrow := simd.F32ToF16
	if c.spec.kind == cacheBF16 {
		narrow = simd.F32ToBF16
	}
	if c.half == nil {
		c.half = make([]byte, 2*c.spec.keyDim)
	}
	narrow(c.half, key)
	for d := range key {
		copy(p[2*(at+d*panel):][:2], c.half[2*d:])
	}
	narrow(p[2*vt:2*(vt+len(value))], value)
}

func (c *cache) putQ80(p []byte, h, i int, key, value []float32) {
	s := &c.spec
	if c.codes == nil {
		n := max(s.keyDim, s.valueDim)
		c.codes, c.scale = make([]int8, n), make([]float32, n/32)
	}
	to := s.bytes(p, h)
	codes, scale := c.codes[:s.keyDim], c.scale[:s.keyDim/32]
	simd.QuantizeRow(codes, scale, key)
	for n, at := 0, i/panel*panel*s.keyDim+2*(i%panel); n < len(codes); n, at = n+2, at+2*panel {
		to.keys[at], to.keys[at+1] = codes[n], codes[n+1]
	}
	for b, x := range scale {
		to.kd[b*pageKeys+i] = x
	}
	codes, scale = c.codes[:s.valueDim], c.scale[:s.valueDim/32]
	simd.QuantizeRow(codes, scale, value)
	for n, x := range codes {
		to.values[n/panel*panel*pageKeys+i/2*2*panel+2*(n%panel)+i%2] = x
	}
	for b, x := range scale {
		to.vd[b*pageKeys+i] = x
	}
}

// headBytes is the keys and values of a head in a page of a cache of bytes, and their scales. Behind those of the keys lie those of the values.
type headBytes struct {
	keys, values []int8
	kd, vd       []float32
}

// atBytes and atScales are the places of a head's bytes and scales in a page.
func (s *cacheSpec) atBytes(head int) int { return head * s.headSize() }
func (s *cacheSpec) atScales(head int) int {
	return s.kvHeads*s.headSize() + 4*head*s.headScales()
}

// bytes returns those of a head.
func (s *cacheSpec) bytes(p []byte, head int) headBytes {
	q := simd.Int8s(p[s.atBytes(head):][:s.headSize()])
	d, _ := simd.Float32s(p[s.atScales(head):][:4*s.headScales()])
	n, m := s.headKeys(), pageKeys*s.keyDim/32
	return headBytes{q[:n], q[n:], d[:m], d[m:]}
}

// floatFormats are the formats of caches of floats.
var floatFormats = map[cacheKind]simd.Float{cacheF32: simd.F32, cacheF16: simd.F16, cacheBF16: simd.BF16}

// stored returns the keys and values of a head as they are, and what lies behind the keys with them.
func (s *cacheSpec) stored(p []byte, head int) (keys, values []byte) {
	n := len(p) / s.kvHeads
	b := p[head*n:][:n]
	n = n / s.headSize() * s.headKeys()
	return b, b[n:]
}

// floats returns the keys and values of a head as float32: in place, or in buf, which holds headSize values.
func (s *cacheSpec) floats(p []byte, head int, buf []float32) (keys, values []float32) {
	b, _ := s.stored(p, head)
	buf = buf[:s.headSize()]
	switch s.kind {
	case cacheF32:
		buf, _ = simd.Float32s(b)
	case cacheF16:
		simd.F16ToF32(buf, b)
	case cacheBF16:
		simd.BF16ToF32(buf, b)
	}
	return buf[:s.headKeys()], buf[s.headKeys():]
}

// forget drops the pages that no query from position pos on can see.
func (c *cache) forget(pos int) {
	if c.spec.window == 0 {
		return
	}
	for p := (pos - c.spec.window + 1) / pageKeys; p > 0; p-- {
		if p > len(c.pages) || c.pages[p-1] == nil {
			continue
		}
		c.spare = append(c.spare, c.pages[p-1])
		c.pages[p-1] = nil
	}
}

// truncate forgets all positions from n on.
func (c *cache) truncate(n int) {
	keep := (n + pageKeys - 1) / pageKeys
	for p := keep; p < len(c.pages); p++ {
		if c.pages[p] != nil {
			c.spare = append(c.spare, c.pages[p])
		}
	}
	c.pages = c.pages[:min(keep, len(c.pages))]
}

// CacheBytes returns the memory that the keys and values of n tokens of one session take.
func (e *Engine) CacheBytes(n int) int64 {
	var total int64
	for i := range e.plan.caches {
		s := &e.plan.caches[i]
		keys := n
		if s.window > 0 {
			keys = min(n, s.window+pageKeys)
		}
		total += int64((keys+pageKeys-1)/pageKeys) * int64(s.pageBytes())
	}
	return total
}
