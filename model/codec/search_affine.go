package codec

// ladder is the list of grids that affine tries: (first + step*i + nmax) steps over the range, for i in 0..count.
type ladder struct {
	first, step float32
	count       int
	absolute    bool // minimize absolute instead of squared errors
}

// affine finds scale >= 0 and least <= 0 that minimize the weighted error of x ~ scale*l + least for integers l in
// [0, nmax]. It returns the scale and -least, and sets l.
//
// For the codes of each grid of the ladder, the best scale and minimum follow from the normal equations; the first
// grid with the smallest error wins.
func affine(x, w []float32, nmax int32, g ladder, l []uint8) (scale, minusLeast float32) {
	least, top := x[0], x[0]
	sumW, sumX := w[0], float32(w[0]*x[0])
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
		clear(l[:len(x)])
		return 0, -least
	}
	measure := func(diff float32) float32 {
		if g.absolute {
			return abs(diff)
		}
		return diff * diff
	}
	base := least
	inverse := float32(nmax) / (top - least)
	scale = 1 / inverse
	var best float32
	for i, v := range x {
		l[i] = uint8(max(0, min(nmax, nearest(float32(inverse*(v-base))))))
		best += float32(w[i] * measure(float32(scale*float32(l[i]))+least-v))
	}
	var aux [32]uint8
	// base moves with least: the reference measures x from the best minimum so far.
	for step := 0; step <= g.count; step++ {
		inverse = (g.first + float32(g.step*float32(step)) + float32(nmax)) / (top - least)
		var sumL, sumL2, sumXL float32
		for i, v := range x {
			q := max(0, min(nmax, nearest(float32(inverse*(v-least)))))
			aux[i] = uint8(q)
			wl := float32(w[i] * float32(q))
			sumL += wl
			sumL2 += float32(wl * float32(q))
			sumXL += float32(wl * v)
		}
		d := float32(sumW*sumL2) - float32(sumL*sumL)
		if !(d > 0) {
			continue
		}
		thisScale := (float32(sumW*sumXL) - float32(sumX*sumL)) / d
		thisLeast := (float32(sumL2*sumX) - float32(sumL*sumXL)) / d
		if thisLeast > 0 {
			thisLeast = 0
			thisScale = sumXL / sumL2
		}
		var cur float32
		for i, v := range x {
			cur += float32(w[i] * measure(float32(thisScale*float32(aux[i]))+thisLeast-v))
		}
		if cur < best {
			copy(l, aux[:len(x)])
			best, scale, least = cur, thisScale, thisLeast
		}
	}
	return scale, -least
}
