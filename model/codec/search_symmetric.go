package codec

// symmetric finds the scale that minimizes the weighted squared error of x ~ scale*l for integers l in
// [-nmax, nmax-1]; nil weights stand for x*x. It returns the scale and sets l[i] to the code plus nmax.
//
// Nineteen grids are tried: the largest magnitude lies on -nmax, then 0.1 to 0.9 of a step beside it. Of each
// grid's codes the best scale follows in closed form, sum(w x l)/sum(w l l), and what it explains is
// sum(w x l)^2/sum(w l l).
func symmetric(x, weights []float32, nmax int32, l []int8) float32 {
	top, magnitude := largest(x)
	if magnitude < tiny {
		clear(l[:len(x)])
		return 0
	}
	var buf [32]float32
	w := weights
	if w == nil {
		w = buf[:len(x)]
		for i, v := range x {
			w[i] = v * v
		}
	}
	quantize := func(inverse float32) (sumlx, suml2 float32) {
		for i, v := range x {
			q := float32(max(-nmax, min(nmax-1, nearest(float32(inverse*v)))))
			sumlx += float32(float32(w[i]*v) * q)
			suml2 += float32(float32(w[i]*q) * q)
		}
		return sumlx, suml2
	}
	code := func(inverse float32) {
		for i, v := range x {
			l[i] = int8(nmax + max(-nmax, min(nmax-1, nearest(float32(inverse*v)))))
		}
	}
	inverse := -float32(nmax) / top
	sumlx, suml2 := quantize(inverse)
	code(inverse)
	var scale float32
	if suml2 != 0 {
		scale = sumlx / suml2
	}
	best := scale * sumlx
	for step := int32(-9); step <= 9; step++ {
		if step == 0 {
			continue
		}
		inverse = -(float32(nmax) + float32(float32(0.1)*float32(step))) / top
		sumlx, suml2 = quantize(inverse)
		if suml2 > 0 && float32(sumlx*sumlx) > float32(best*suml2) {
			code(inverse)
			scale = sumlx / suml2
			best = scale * sumlx
		}
	}
	return scale
}
