package codec

// ladder is the list of grids that affine tries: (first + step*i + nmax) steps over the range, for i in 0..count.
type ladder struct {
	first, step float32
	count       int
	absolute    bool // minimize absolute instead of squared errors
}

// fineLadder is the list of grids of q4_1, q5_1 and the k formats with importances.
var fineLadder = ladder{first: -0.9, step: 0.05, count: 36}

// affine finds scale >= 0 and least <= 0 that minimize the weighted error of x ~ scale*l + least for integers l in
// [0, nmax]. It returns the scale and -least, and sets l. x has at most 32 values.
//
// For the codes of each grid of the ladder, the best scale and minimum follow from the normal equations; a grid with a
// smaller error than all before is taken, and its minimum is where the next grids begin.
func affine(x, w []float32, nmax int32, g ladder, l []uint8) (scale, minusLeast float32) {
	w, l = w[:len(x)], l[:len(x)]
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
		clear(l)
		return 0, -least
	}
	inverse := float32(nmax) / (top - least)
	scale = 1 / inverse
	var codes, trial [32]float32
	for i, v := range x {
		codes[i&31] = float32(max(0, min(nmax, nearest(float32(inverse*(v-least))))))
	}
	best := g.err(x, w, &codes, scale, least)
	for step := range g.count + 1 {
		inverse = (g.first + float32(g.step*float32(step)) + float32(nmax)) / (top - least)
		var sumL, sumL2, sumXL float32
		for i, v := range x {
			q := float32(max(0, min(nmax, nearest(float32(inverse*(v-least))))))
			trial[i&31] = q
			wl := w[i] * q
			sumL += wl
			sumL2 += float32(wl * q)
			sumXL += float32(wl * v)
		}
		d := float32(sumW*sumL2) - float32(sumL*sumL)
		if !(d > 0) {
			continue
		}
		a := (float32(sumW*sumXL) - float32(sumX*sumL)) / d
		b := (float32(sumL2*sumX) - float32(sumL*sumXL)) / d
		if b > 0 {
			a, b = sumXL/sumL2, 0
		}
		if e := g.err(x, w, &trial, a, b); e < best {
			best, codes, scale, least = e, trial, a, b
		}
	}
	for i := range l {
		l[i] = uint8(codes[i&31])
	}
	return scale, -least
}

// err returns the weighted error of codes.
func (g *ladder) err(x, w []float32, codes *[32]float32, scale, least float32) float32 {
	var sum float32
	w = w[:len(x)]
	if g.absolute {
		for i, v := range x {
			sum += float32(w[i] * abs(float32(scale*codes[i&31])+least-v))
		}
		return sum
	}
	for i, v := range x {
		diff := float32(scale*codes[i&31]) + least - v
		sum += float32(w[i] * float32(diff*diff))
	}
	return sum
}
