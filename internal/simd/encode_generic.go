package simd

import (
	"encoding/binary"
	"math"
)

// The meaning of the searches, in plain Go, a group after the other. Two rules keep bits equal on every machine: every
// product is rounded before it is added (the explicit float32 conversions forbid the compiler to fuse), and no sum is
// reordered.

// nearestInt rounds to the nearest integer, ties to even, for |v| < 2^22; beyond, and for NaN, the result is some integer
// of at most 23 bits.
func nearestInt(v float32) int32 {
	return int32(math.Float32bits(v+0x1.8p23)&0x7fffff) - 0x400000
}

func magnitude(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

func root(v float32) float32 { return float32(math.Sqrt(float64(v))) }

// tinyGroup is the magnitude below which a group counts as all zero.
const tinyGroup = 1e-15

// group copies group g of n values.
func group(dst *[32]float32, x []float32, g, n int) []float32 {
	for i := range n {
		dst[i] = x[8*i+g]
	}
	return dst[:n]
}

// largestOf returns the value of largest magnitude and that magnitude; of equals the first.
func largestOf(x []float32) (value, size float32) {
	for _, v := range x {
		if a := magnitude(v); a > size {
			value, size = v, a
		}
	}
	return value, size
}

func weighSpreadGeneric(w, x []float32, n int) {
	for g := range 8 {
		var sum float32
		for i := range n {
			sum += float32(x[8*i+g] * x[8*i+g])
		}
		mean := root(sum / float32(n))
		for i := range n {
			w[8*i+g] = mean + magnitude(x[8*i+g])
		}
	}
}

func weighImportanceGeneric(w, importance, x []float32, sigma2 float32) {
	for i, v := range x {
		w[i] = importance[i] * root(sigma2+float32(v*v))
	}
}

func fitAffineGeneric(f *Fit8, x, w []float32, n int, nmax int32, grid AffineGrid) {
	var xs, ws [32]float32
	for g := range 8 {
		a := affineFit{x: group(&xs, x, g, n), w: group(&ws, w, g, n), nmax: nmax, grid: grid}
		f.Scale[g], f.Minus[g], f.SumW[g] = a.fit()
		f.Inverse[g], f.Least[g] = a.inverse, a.least
	}
}

// affineFit is the search of one group.
type affineFit struct {
	x, w           []float32
	nmax           int32
	grid           AffineGrid
	trial          [32]float32
	inverse, least float32 // of the codes that are best so far
}

func (a *affineFit) fit() (scale, minus, sumW float32) {
	x, w := a.x, a.w
	least, top := x[0], x[0]
	sumW = w[0]
	sumX := float32(w[0] * x[0])
	for i := 1; i < len(x); i++ {
		v := x[i]
		if v < least {
			least = v
		}
		if v > top {
			top = v
		}
		sumW += w[i]
		sumX += float32(w[i] * v)
	}
	if least > 0 {
		least = 0
	}
	if !(top > least) {
		return 0, -least, sumW
	}
	inverse := float32(a.nmax) / (top - least)
	scale = 1 / inverse
	a.code(inverse, least)
	a.inverse, a.least = inverse, least
	best := a.err(scale, least)
	for step := range a.grid.Count + 1 {
		inverse = (a.grid.First + float32(a.grid.Step*float32(step)) + float32(a.nmax)) / (top - least)
		sumL, sumL2, sumXL := a.code(inverse, least)
		d := float32(sumW*sumL2) - float32(sumL*sumL)
		if !(d > 0) {
			continue
		}
		s := (float32(sumW*sumXL) - float32(sumX*sumL)) / d
		b := (float32(sumL2*sumX) - float32(sumL*sumXL)) / d
		if b > 0 {
			s, b = sumXL/sumL2, 0
		}
		if e := a.err(s, b); e < best {
			a.inverse, a.least = inverse, least
			best, scale, least = e, s, b
		}
	}
	return scale, -least, sumW
}

// code sets the trial codes and returns the sums of the normal equations.
func (a *affineFit) code(inverse, least float32) (sumL, sumL2, sumXL float32) {
	w := a.w[:len(a.x)]
	for i, v := range a.x {
		q := float32(max(0, min(a.nmax, nearestInt(float32(inverse*(v-least))))))
		a.trial[i&31] = q
		wl := w[i] * q
		sumL += wl
		sumL2 += float32(wl * q)
		sumXL += float32(wl * v)
	}
	return sumL, sumL2, sumXL
}

// err returns the weighted error of the trial codes.
func (a *affineFit) err(scale, least float32) float32 {
	var sum float32
	w := a.w[:len(a.x)]
	if a.grid.Absolute {
		for i, v := range a.x {
			sum += float32(w[i] * magnitude(float32(scale*a.trial[i&31])+least-v))
		}
		return sum
	}
	for i, v := range a.x {
		diff := float32(scale*a.trial[i&31]) + least - v
		sum += float32(w[i] * float32(diff*diff))
	}
	return sum
}

func fitSymmetricGeneric(f *Fit8, x, w []float32, n int, nmax int32) {
	var xs, ws [32]float32
	for g := range 8 {
		f.Scale[g], f.Inverse[g] = 0, 0
		x, w := group(&xs, x, g, n), group(&ws, w, g, n)
		top, size := largestOf(x)
		if size < tinyGroup {
			continue
		}
		f.search(g, 9, func(step int) (inverse, sumlx, suml2 float32) {
			if inverse = -float32(nmax) / top; step != 0 {
				inverse = -(float32(nmax) + float32(float32(0.1)*float32(step))) / top
			}
			for i, v := range x {
				q := float32(max(-nmax, min(nmax-1, nearestInt(float32(inverse*v)))))
				sumlx += float32(float32(w[i]*v) * q)
				suml2 += float32(float32(w[i]*q) * q)
			}
			return inverse, sumlx, suml2
		})
	}
}

// search tries step 0 first, then those from -steps to steps, and keeps what explains most.
func (f *Fit8) search(g, steps int, try func(step int) (inverse, sumlx, suml2 float32)) {
	var scale float32
	inverse, sumlx, suml2 := try(0)
	if suml2 != 0 {
		scale = sumlx / suml2
	}
	best := scale * sumlx
	f.Scale[g], f.Inverse[g] = scale, inverse
	for step := -steps; step <= steps; step++ {
		if step == 0 {
			continue
		}
		inverse, sumlx, suml2 = try(step)
		if suml2 > 0 && float32(sumlx*sumlx) > float32(best*suml2) {
			scale = sumlx / suml2
			best = scale * sumlx
			f.Scale[g], f.Inverse[g] = scale, inverse
		}
	}
}

func fitDescendGeneric(f *Fit8, x []float32, n int, nmax int32) {
	var xs [32]float32
	for g := range 8 {
		f.Scale[g], f.empty[g] = 0, 0
		x := group(&xs, x, g, n)
		top, size := largestOf(x)
		if size < tinyGroup {
			f.empty[g] = 1
			continue
		}
		inverse := -float32(nmax) / top
		var sumlx, suml2 float32
		for i, v := range x {
			q := float32(max(-nmax, min(nmax-1, nearestInt(float32(inverse*v)))))
			f.trial[i][g] = q
			w := v * v
			sumlx += float32(float32(w*v) * q)
			suml2 += float32(float32(w*q) * q)
		}
		for range 5 {
			if !f.round(g, x, nmax, &sumlx, &suml2) {
				break
			}
		}
		if suml2 > 0 {
			f.Scale[g] = sumlx / suml2
		}
	}
}

// round goes over the codes of a group once and reports whether one changed.
func (f *Fit8) round(g int, x []float32, nmax int32, sumlx, suml2 *float32) bool {
	changed := false
	for i, v := range x {
		w, q := v*v, f.trial[i][g]
		slx := *sumlx - float32(float32(w*v)*q)
		if !(slx > 0) {
			continue
		}
		sl2 := *suml2 - float32(float32(w*q)*q)
		n := float32(max(-nmax, min(nmax-1, nearestInt(float32(v*sl2)/slx))))
		if n == q {
			continue
		}
		slx += float32(float32(w*v) * n)
		sl2 += float32(float32(w*n) * n)
		if sl2 > 0 && float32(float32(slx*slx)**suml2) > float32(float32(*sumlx**sumlx)*sl2) {
			f.trial[i][g], *sumlx, *suml2 = n, slx, sl2
			changed = true
		}
	}
	return changed
}

// IQ4Values is the table of IQ4_NL and IQ4_XS: finer near zero.
var IQ4Values = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// IQ4Index returns the index of the table value nearest to v; in the middle, of the larger, and of NaN the last. The middles
// are multiples of one half, so that the floor of 2v says on which side of each v lies.
func IQ4Index(v float32) uint8 {
	if v <= IQ4Values[0] {
		return 0
	}
	if !(v < IQ4Values[15]) {
		return 15
	}
	return iq4Nearest[uint32(int32(float64(2*v)+256))&511] // the sum is exact, so the conversion is the floor
}

// iq4Nearest[256+k] is the index for values from k/2 on, below (k+1)/2.
var iq4Nearest = func() (t [512]uint8) {
	for i := range t {
		for j := 1; j < 16 && float32(i-256) >= IQ4Values[j-1]+IQ4Values[j]; j++ {
			t[i] = uint8(j)
		}
	}
	return t
}()

func fitIQ4Generic(f *Fit8, x, w []float32, n int) {
	var xs, ws [32]float32
	for g := range 8 {
		f.Scale[g], f.Inverse[g] = 0, 0
		x, w := group(&xs, x, g, n), group(&ws, w, g, n)
		top, size := largestOf(x)
		if size < tinyGroup {
			continue
		}
		try := func(inverse float32) (sumqx, sumq2 float32) {
			for i, v := range x {
				q := IQ4Values[IQ4Index(inverse*v)]
				wq := float32(w[i] * q)
				sumqx += float32(wq * v)
				sumq2 += float32(wq * q)
			}
			return sumqx, sumq2
		}
		f.Inverse[g] = 1 / (-top / IQ4Values[0])
		sumqx, sumq2 := try(f.Inverse[g])
		var d float32
		if sumq2 > 0 {
			d = sumqx / sumq2
		}
		best := d * sumqx
		for step := float32(-7); step <= 7; step++ {
			inverse := (step + IQ4Values[0]) / top
			sumqx, sumq2 = try(inverse)
			if sumq2 > 0 && float32(sumqx*sumqx) > float32(best*sumq2) {
				d = sumqx / sumq2
				best = d * sumqx
				f.Inverse[g] = inverse
			}
		}
		f.Scale[g] = d
	}
}

func encodeQ8Generic(dst []byte, src []float32) {
	for i := range len(src) / 32 {
		x, b := (*[32]float32)(src[32*i:]), (*[34]byte)(dst[34*i:])
		var bits uint32 // of the largest magnitude: magnitudes compare as their bits
		for _, v := range x {
			bits = max(bits, math.Float32bits(v)&^(1<<31))
		}
		d := math.Float32frombits(bits) / 127
		var inverse float32
		if d != 0 {
			inverse = 1 / d
		}
		binary.LittleEndian.PutUint16(b[:], floatToHalf(d))
		for j, v := range x {
			// In float64 the sum with one half is exact.
			v *= inverse
			half := math.Float64frombits(0x3fe0000000000000 | uint64(math.Float32bits(v)>>31)<<63)
			b[2+j] = byte(int32(float64(v) + half))
		}
	}
}
