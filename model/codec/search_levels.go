package codec

// levels finds the scale that minimizes the weighted squared error of x ~ scale*l for non-negative x and integers l in
// [0, nmax], sets l and returns the scale. It quantizes the scales and minima of a super-block when importances are given.
//
// Nine grids are tried, then up to five rounds change single codes while that explains more.
func levels(x, w []float32, nmax int32, l []uint8) float32 {
	var top float32
	for _, v := range x {
		if v > top {
			top = v
		}
	}
	if top < tiny {
		clear(l[:len(x)])
		return 0
	}
	inverse := float32(nmax) / top
	scale := 1 / inverse
	var best float32
	for i, v := range x {
		l[i] = uint8(nearest(float32(inverse * v)))
		diff := v - float32(scale*float32(l[i]))
		best += float32(float32(w[i]*diff) * diff)
	}
	for step := int32(-4); step <= 4; step++ {
		if step == 0 {
			continue
		}
		inverseStep := (float32(float32(0.1)*float32(step)) + float32(nmax)) / top
		scaleStep := 1 / inverseStep
		var mse float32
		for i, v := range x {
			q := min(nmax, nearest(float32(inverseStep*v)))
			diff := v - float32(scaleStep*float32(q))
			mse += float32(float32(w[i]*diff) * diff)
		}
		if mse < best {
			best = mse
			inverse = inverseStep
		}
	}
	var sumlx, suml2 float32
	for i, v := range x {
		q := min(nmax, nearest(float32(inverse*v)))
		l[i] = uint8(q)
		sumlx += float32(float32(w[i]*v) * float32(q))
		suml2 += float32(float32(w[i]*float32(q)) * float32(q))
	}
	for range 5 {
		changed := false
		for i, v := range x {
			q := float32(l[i])
			slx := sumlx - float32(float32(w[i]*v)*q)
			sl2 := suml2 - float32(float32(w[i]*q)*q)
			if !(slx > 0 && sl2 > 0) {
				continue
			}
			n := min(nmax, nearest(float32(v*sl2)/slx))
			if n == int32(l[i]) {
				continue
			}
			q = float32(n)
			slx += float32(float32(w[i]*v) * q)
			sl2 += float32(float32(w[i]*q) * q)
			if float32(float32(slx*slx)*suml2) > float32(float32(sumlx*sumlx)*sl2) {
				l[i], sumlx, suml2 = uint8(n), slx, sl2
				changed = true
			}
		}
		if !changed {
			break
		}
	}
	if suml2 > 0 {
		return sumlx / suml2
	}
	return 0
}
