package simd

// packB copies steps [l,end) of columns [j,jEnd) of B into panels: dst[(p*(end-l)+s)*16+q] = B[l+s, j+16p+q], zeros past jEnd.
func packB(dst []float32, b operand, j, jEnd, l, end int) {
	kn := end - l
	for ; j < jEnd; j += panel {
		p := dst[:panel*kn]
		dst = dst[panel*kn:]
		done := 0
		if jEnd-j >= panel {
			done = packWhole(p, b, j, l, kn)
		}
		w := min(panel, jEnd-j)
		for s := done; s < kn; s++ {
			row := p[s*panel : (s+1)*panel]
			clear(row[w:])
			at := b.at(l+s, j)
			if !b.t {
				copy(row[:w], b.v[at:])
				continue
			}
			for q := range row[:w] {
				row[q] = b.v[at+q*b.ld]
			}
		}
	}
}

// packWhole packs as many steps of a whole panel as the kernels can and returns how many.
func packWhole(dst []float32, b operand, j, l, kn int) int {
	if impl == generic {
		return 0
	}
	src := b.v[b.at(l, j):]
	if !b.t {
		_ = src[(kn-1)*b.ld+panel-1]
		packRows16(&dst[0], &src[0], 4*b.ld, kn)
		return kn
	}
	kn &^= 7
	if kn > 0 {
		_ = src[(panel-1)*b.ld+kn-1]
		packCols16(&dst[0], &src[0], 4*b.ld, kn)
	}
	return kn
}

// packA copies steps [l,l+kn) of n <= rows columns of a transposed A, padded with zeros to rows values a step:
// dst[s*rows+q] = A[i+q, l+s]. dst has 16 values more than that, which may be overwritten.
func packA(dst []float32, rows int, a operand, i, n, l, kn int) {
	src := a.v[a.at(i, l):]
	_ = src[(kn-1)*a.ld+n-1]
	_ = dst[kn*rows+panel-1]
	if impl != generic {
		packNarrowVector(&dst[0], &src[0], 4*a.ld, kn, n)
		return
	}
	for s := range kn {
		copy(dst[s*rows:s*rows+rows], src[s*a.ld:s*a.ld+n])
		clear(dst[s*rows+n : (s+1)*rows])
	}
}
