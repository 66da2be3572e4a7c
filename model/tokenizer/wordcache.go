package tokenizer

import "hash/maphash"

// wordCache remembers the ids of recent words. It is bounded: when it is full it starts over. Each encoder has its
// own, so that no lock is needed; what it holds never changes a result.
type wordCache struct {
	slots []cacheSlot
	used  int
	text  []byte
	ids   []int32
}

type cacheSlot struct {
	hash       uint64 // 0: empty
	text, size uint32
	ids, n     uint32
}

const (
	cacheSlots    = 1 << 14
	cacheMaxWord  = 128 // longer words are rare and not worth the room
	cacheMaxText  = 1 << 19
	cacheMaxProbe = 8
)

var cacheSeed = maphash.MakeSeed()

// find returns the ids of w and its hash for a later add.
func (c *wordCache) find(w string) (ids []int32, hash uint64, ok bool) {
	hash = maphash.String(cacheSeed, w) | 1
	if c.slots == nil {
		return nil, hash, false
	}
	for i, at := 0, hash>>32; i < cacheMaxProbe; i, at = i+1, at+1 {
		s := &c.slots[at%cacheSlots]
		if s.hash == 0 {
			return nil, hash, false
		}
		if s.hash == hash && string(c.text[s.text:s.text+s.size]) == w {
			return c.ids[s.ids : s.ids+s.n], hash, true
		}
	}
	return nil, hash, false
}

func (c *wordCache) add(w string, hash uint64, ids []int32) {
	if len(w) > cacheMaxWord {
		return
	}
	if c.slots == nil || c.used > cacheSlots*3/4 || len(c.text)+len(w) > cacheMaxText {
		c.reset()
	}
	for i, at := 0, hash>>32; i < cacheMaxProbe; i, at = i+1, at+1 {
		s := &c.slots[at%cacheSlots]
		if s.hash != 0 {
			continue
		}
		*s = cacheSlot{hash, uint32(len(c.text)), uint32(len(w)), uint32(len(c.ids)), uint32(len(ids))}
		c.text = append(c.text, w...)
		c.ids = append(c.ids, ids...)
		c.used++
		return
	}
}

func (c *wordCache) reset() {
	if c.slots == nil {
		c.slots = make([]cacheSlot, cacheSlots)
	} else {
		clear(c.slots)
	}
	c.used, c.text, c.ids = 0, c.text[:0], c.ids[:0]
}
