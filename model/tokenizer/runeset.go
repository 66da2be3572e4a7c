package tokenizer

import (
	"slices"
	"sync"
	"unicode"
)

// A runeSet answers "is this rune in the class?" in a few instructions. It is kept twice: as sorted ranges, on which
// classes are combined when a pattern is compiled, and as a two-level bitmap, which the scanners ask.
type runeSet struct {
	ranges []runeRange
	ascii  [2]uint64
	index  []uint16    // block number of r>>8
	blocks [][4]uint64 // 256 bits each
}

type runeRange struct{ lo, hi rune } // both ends belong to the range

const runeBlocks = (unicode.MaxRune + 1) >> 8

// has reports whether r is in the set. Runes outside Unicode are in no set.
func (s *runeSet) has(r rune) bool {
	if uint32(r) < 0x80 {
		return s.ascii[r>>6]>>(uint(r)&63)&1 != 0
	}
	b := uint32(r) >> 8
	if b >= runeBlocks {
		return false
	}
	return s.blocks[s.index[b]][r>>6&3]>>(uint(r)&63)&1 != 0
}

// newRuneSet builds the bitmap of normalized ranges.
func newRuneSet(ranges []runeRange) *runeSet {
	s := &runeSet{ranges: ranges, index: make([]uint16, runeBlocks)}
	known := map[[4]uint64]uint16{}
	next := 0 // first range that may reach into the block
	for b := range runeBlocks {
		lo, hi := rune(b)<<8, rune(b)<<8|0xff
		var bits [4]uint64
		for next < len(ranges) && ranges[next].hi < lo {
			next++
		}
		for i := next; i < len(ranges) && ranges[i].lo <= hi; i++ {
			fillBits(&bits, max(ranges[i].lo, lo)-lo, min(ranges[i].hi, hi)-lo)
		}
		n, ok := known[bits]
		if !ok {
			n = uint16(len(s.blocks))
			known[bits] = n
			s.blocks = append(s.blocks, bits)
		}
		s.index[b] = n
	}
	s.ascii = [2]uint64(s.blocks[s.index[0]][:2])
	return s
}

func fillBits(bits *[4]uint64, lo, hi rune) {
	for w := lo >> 6; w <= hi>>6; w++ {
		first, last := rune(0), rune(63)
		if w == lo>>6 {
			first = lo & 63
		}
		if w == hi>>6 {
			last = hi & 63
		}
		bits[w] |= ^uint64(0) << uint(first) & (^uint64(0) >> uint(63-last))
	}
}

// normalizeRanges sorts ranges and joins those that touch or overlap.
func normalizeRanges(r []runeRange) []runeRange {
	slices.SortFunc(r, func(a, b runeRange) int { return int(a.lo) - int(b.lo) })
	out := r[:0]
	for _, x := range r {
		if n := len(out); n > 0 && x.lo <= out[n-1].hi+1 {
			out[n-1].hi = max(out[n-1].hi, x.hi)
		} else {
			out = append(out, x)
		}
	}
	return out
}

// complement returns the runes in no range of r, which must be normalized.
func complement(r []runeRange) []runeRange {
	var out []runeRange
	next := rune(0)
	for _, x := range r {
		if x.lo > next {
			out = append(out, runeRange{next, x.lo - 1})
		}
		next = x.hi + 1
	}
	if next <= unicode.MaxRune {
		out = append(out, runeRange{next, unicode.MaxRune})
	}
	return out
}

// intersect returns the runes in both a and b, which must be normalized.
func intersect(a, b []runeRange) []runeRange {
	var out []runeRange
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if lo, hi := max(a[i].lo, b[j].lo), min(a[i].hi, b[j].hi); lo <= hi {
			out = append(out, runeRange{lo, hi})
		}
		if a[i].hi < b[j].hi {
			i++
		} else {
			j++
		}
	}
	return out
}

// union returns the runes in a or b.
func union(a, b []runeRange) []runeRange {
	return normalizeRanges(slices.Concat(a, b))
}

// tableRanges converts tables of package unicode.
func tableRanges(tables ...*unicode.RangeTable) []runeRange {
	var out []runeRange
	add := func(lo, hi, stride rune) {
		if stride == 1 {
			out = append(out, runeRange{lo, hi})
			return
		}
		for r := lo; r <= hi; r += stride {
			out = append(out, runeRange{r, r})
		}
	}
	for _, t := range tables {
		for _, x := range t.R16 {
			add(rune(x.Lo), rune(x.Hi), rune(x.Stride))
		}
		for _, x := range t.R32 {
			add(rune(x.Lo), rune(x.Hi), rune(x.Stride))
		}
	}
	return normalizeRanges(out)
}

// Classes that the regular expression engines of the original tokenizers define by Unicode properties.
var (
	spaceRanges = sync.OnceValue(func() []runeRange { return tableRanges(unicode.White_Space) })
	digitRanges = sync.OnceValue(func() []runeRange { return tableRanges(unicode.Nd) })
	wordRanges  = sync.OnceValue(func() []runeRange {
		return tableRanges(unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic,
			unicode.Join_Control)
	})
)

// foldRanges adds to r every rune that differs from one of its members in case only. The patterns in use
// fold single letters, so large classes are folded rune by rune without regret.
func foldRanges(r []runeRange) []runeRange {
	out := slices.Clone(r)
	for _, x := range r {
		for c := x.lo; c <= x.hi; c++ {
			for f := unicode.SimpleFold(c); f != c; f = unicode.SimpleFold(f) {
				out = append(out, runeRange{f, f})
			}
		}
	}
	return normalizeRanges(out)
}
