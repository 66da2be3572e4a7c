package runtime

import "github.com/parelm/pare/model"

// pageKeys is how many positions one page of the cache holds. Pages let a cache grow without copying and a sliding
// window forget; their borders are fixed positions, so that attention adds up in the same order however a prompt is cut.
const pageKeys = 64

// cacheSpec is the shape of the keys and values of one attention node.
type cacheSpec struct {
	kvHeads, keyDim, valueDim int
	window                    int
}

// cache holds the keys and values of one attention node of one session: pages[p] starts at position p*pageKeys and is nil
// once it has left the window. Within a page, each head's keys lie together, then each head's values.
type cache struct {
	spec  cacheSpec
	pages [][]float32
	spare [][]float32
}

func (s *cacheSpec) pageSize() int { return pageKeys * s.kvHeads * (s.keyDim + s.valueDim) }

// page returns the page of a position, making it where it is new.
func (c *cache) page(pos int) []float32 {
	p := pos / pageKeys
	for len(c.pages) <= p {
		c.pages = append(c.pages, nil)
	}
	if c.pages[p] == nil {
		if n := len(c.spare); n > 0 {
			c.pages[p], c.spare = c.spare[n-1], c.spare[:n-1]
		} else {
			c.pages[p] = make([]float32, c.spec.pageSize())
		}
	}
	return c.pages[p]
}

// key and value return the vectors of a head at a place within a page.
func (s *cacheSpec) key(page []float32, head, i int) []float32 {
	at := (head*pageKeys + i) * s.keyDim
	return page[at : at+s.keyDim]
}

func (s *cacheSpec) value(page []float32, head, i int) []float32 {
	at := pageKeys*s.kvHeads*s.keyDim + (head*pageKeys+i)*s.valueDim
	return page[at : at+s.valueDim]
}

// put stores the key and value rows of position pos.
func (c *cache) put(pos int, k, v []float32) {
	page, i := c.page(pos), pos%pageKeys
	for h := range c.spec.kvHeads {
		copy(c.spec.key(page, h, i), k[h*c.spec.keyDim:])
		copy(c.spec.value(page, h, i), v[h*c.spec.valueDim:])
	}
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
		total += int64((keys+pageKeys-1)/pageKeys) * int64(s.pageSize()) * 4
	}
	return total
}

func specOf(a *model.Attention) cacheSpec {
	return cacheSpec{a.KVHeads, a.HeadDim, a.ValueDim, a.Window}
}
