package codec

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
)

// What a block holds besides the codes of its values: in every format whose values are affine in their codes,
//
//	x[i] = D*S[g]*q[i] - M*T[g],   g = i / Group
//
// D and M are floats, S and T small whole numbers; the codes q follow from the block with D and S one and M zero. Whoever
// fits scales to something else than the values themselves, such as a teacher, changes these and leaves the codes.

// Scales are the parameters of a block.
type Scales struct {
	D, M float32
	S, T []int // of each group
}

// ScaleLayout says which parameters the blocks of a format have.
type ScaleLayout struct {
	Group  int    // values that share S and T; 0 for a whole row
	Groups int    // of a block
	S, T   [2]int // least and most of S and T; both 1 (S) or equal (T) where the format has none
	Min    bool   // M is stored. Without it M is D where T can change, as in formats with zero points, else 0
	Half   bool   // D and M are stored as float16

	get func(b []byte, s *Scales)
	put func(b []byte, s *Scales)
}

// Tied reports formats with a zero point: x = D*(q - T), so that M is always D.
func (l *ScaleLayout) Tied() bool { return !l.Min && l.T[0] != l.T[1] }

// Get reads a block's parameters. S and T hold Groups numbers each.
func (l *ScaleLayout) Get(block []byte, s *Scales) { l.get(block, s) }

// Put writes them into a block and leaves its codes. D and M are rounded as the format stores them; S and T must lie in
// their ranges.
func (l *ScaleLayout) Put(block []byte, s *Scales) { l.put(block, s) }

// New returns parameters that make the values of a block its codes.
func (l *ScaleLayout) New() *Scales {
	s := &Scales{D: 1, S: make([]int, l.Groups), T: make([]int, l.Groups)}
	for g := range s.S {
		s.S[g] = 1
		s.T[g] = max(0, l.T[0])
	}
	return s
}

// ScalesOf returns where a format keeps its scales, or an error for one whose values are not affine in codes, or whose scales
// are powers of two.
func ScalesOf(c Codec) (*ScaleLayout, error) {
	if l, ok := scaleLayouts.Load(c); ok {
		return l.(*ScaleLayout), nil
	}
	var l *ScaleLayout
	if g, ok := GroupOf(c); ok {
		l = groupScales(g)
	} else if l = blockScales(c.Name()); l == nil {
		return nil, fmt.Errorf("%s keeps no scales that can change apart from its codes", c.Name())
	}
	scaleLayouts.Store(c, l)
	return l, nil
}

var scaleLayouts sync.Map // Codec to *ScaleLayout

// half returns a float16 at a place.
func half(b []byte) float32 { return F16ToF32(binary.LittleEndian.Uint16(b)) }

func putHalf(b []byte, v float32) { binary.LittleEndian.PutUint16(b, F32ToF16(v)) }

// blockScales is the table of ggml's formats.
func blockScales(name string) *ScaleLayout {
	switch name {
	case "q4_0", "q5_0", "q8_0", "iq4_nl":
		return single(0)
	case "q4_1", "q5_1":
		return &ScaleLayout{Group: 32, Groups: 1, S: [2]int{1, 1}, T: [2]int{1, 1}, Min: true, Half: true,
			get: func(b []byte, s *Scales) { s.D, s.M, s.S[0], s.T[0] = half(b), -half(b[2:]), 1, 1 },
			put: func(b []byte, s *Scales) { putAffine(b, s.D, -s.M) }}
	case "q2_k":
		return &ScaleLayout{Group: 16, Groups: 16, S: [2]int{0, 15}, T: [2]int{0, 15}, Min: true, Half: true, get: getQ2K, put: putQ2K}
	case "q3_k":
		return &ScaleLayout{Group: 16, Groups: 16, S: [2]int{-32, 31}, Half: true, get: getQ3K, put: putQ3K}
	case "q4_k", "q5_k":
		return &ScaleLayout{Group: 32, Groups: 8, S: [2]int{0, 63}, T: [2]int{0, 63}, Min: true, Half: true, get: getAffine6, put: putAffine6}
	case "q6_k":
		return &ScaleLayout{Group: 16, Groups: 16, S: [2]int{-128, 127}, Half: true, get: getQ6K, put: putQ6K}
	case "iq4_xs":
		return &ScaleLayout{Group: 32, Groups: 8, S: [2]int{-32, 31}, Half: true, get: getIQ4XS, put: putIQ4XS}
	}
	return nil
}

// single is a format of 32 values with one half scale.
func single(at int) *ScaleLayout {
	return &ScaleLayout{Group: 32, Groups: 1, S: [2]int{1, 1}, Half: true,
		get: func(b []byte, s *Scales) { s.D, s.M, s.S[0], s.T[0] = half(b[at:]), 0, 1, 0 },
		put: func(b []byte, s *Scales) { putHalf(b[at:], s.D) }}
}

// groupScales is that of a group format: a float32 scale, and a whole zero point where there is one.
func groupScales(g Group) *ScaleLayout {
	l := &ScaleLayout{Group: g.Size, Groups: 1, S: [2]int{1, 1}}
	if g.Zero {
		l.T = [2]int{0, 1<<g.Bits - 1}
	}
	l.get = func(b []byte, s *Scales) {
		s.D, s.M, s.S[0], s.T[0] = math.Float32frombits(binary.LittleEndian.Uint32(b)), 0, 1, 0
		if g.Zero {
			s.M, s.T[0] = s.D, int(math.Float32frombits(binary.LittleEndian.Uint32(b[4:])))
		}
	}
	l.put = func(b []byte, s *Scales) {
		binary.LittleEndian.PutUint32(b, math.Float32bits(s.D))
		if g.Zero {
			binary.LittleEndian.PutUint32(b[4:], math.Float32bits(float32(s.T[0])))
		}
	}
	return l
}

func getQ2K(b []byte, s *Scales) {
	s.D, s.M = half(b[80:]), half(b[82:])
	for g := range 16 {
		s.S[g], s.T[g] = int(b[g]&15), int(b[g]>>4)
	}
}

func putQ2K(b []byte, s *Scales) {
	putAffine(b[80:], s.D, s.M)
	for g := range 16 {
		b[g] = byte(s.S[g]) | byte(s.T[g])<<4
	}
}

func getQ3K(b []byte, s *Scales) {
	s.D, s.M = half(b[108:]), 0
	for g, v := range unpackScales6(b[96:108]) {
		s.S[g], s.T[g] = int(v)-32, 0
	}
}

func putQ3K(b []byte, s *Scales) {
	putHalf(b[108:], s.D)
	var v [16]uint8
	for g := range v {
		v[g] = uint8(s.S[g] + 32)
	}
	packScales6(b[96:108], &v)
}

func getAffine6(b []byte, s *Scales) {
	s.D, s.M = half(b), half(b[2:])
	x, y := unpackAffine6(b[4:16])
	for g := range 8 {
		s.S[g], s.T[g] = int(x[g]), int(y[g])
	}
}

func putAffine6(b []byte, s *Scales) {
	putAffine(b, s.D, s.M)
	var x, y [8]uint8
	for g := range 8 {
		x[g], y[g] = uint8(s.S[g]), uint8(s.T[g])
	}
	packAffine6(b[4:16], &x, &y)
}

func getQ6K(b []byte, s *Scales) {
	s.D, s.M = half(b[208:]), 0
	for g := range 16 {
		s.S[g], s.T[g] = int(int8(b[192+g])), 0
	}
}

func putQ6K(b []byte, s *Scales) {
	putHalf(b[208:], s.D)
	for g := range 16 {
		b[192+g] = byte(int8(s.S[g]))
	}
}

func getIQ4XS(b []byte, s *Scales) {
	s.D, s.M = half(b), 0
	high := binary.LittleEndian.Uint16(b[2:])
	for g := range 8 {
		s.S[g], s.T[g] = int(b[4+g/2]>>(g%2*4)&15|byte(high>>(2*g)&3)<<4)-32, 0
	}
}

func putIQ4XS(b []byte, s *Scales) {
	putHalf(b, s.D)
	var high uint16
	clear(b[4:8])
	for g := range 8 {
		v := uint16(s.S[g] + 32)
		b[4+g/2] |= byte(v&15) << (g % 2 * 4)
		high |= v >> 4 << (2 * g)
	}
	binary.LittleEndian.PutUint16(b[2:], high)
}
