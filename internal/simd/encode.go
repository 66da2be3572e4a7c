package simd

// The searches of block formats for their scales, for eight groups of 16 or 32 values at a time. Groups lie side by side:
// x[8*i+g] is value i of group g, as Groups8 lays them. What is compared with what, and in which order sums are added, is
// that of ggml's reference encoder, and the same on every machine: the bits of a scale decide the bytes of a file.

// Fit8 is the answer of a search, an entry for each group, and the room it needs. The zero value will do.
type Fit8 struct {
	Scale [8]float32
	Minus [8]float32 // what is subtracted: x ~ Scale*code - Minus
	// Inverse and Least give the codes that the scale was found with: nearest(Inverse*(x-Least)), clamped. Both are 0 where
	// there was nothing to find.
	Inverse, Least [8]float32
	SumW           [8]float32 // the sum of the weights (FitAffine8)

	_     [5][8]float32 // room of the kernels: best, now, top, sumX, first
	empty [8]float32
	trial [33][8]float32
}

// AffineGrid is the list of grids that FitAffine8 tries: First + Step*i + nmax steps over the range, for i in 0..Count.
type AffineGrid struct {
	First, Step float32
	Count       int
	Absolute    bool // minimize absolute instead of squared errors
}

// groupsOf8 returns how many values each of eight groups has, and panics unless it is a multiple of 8 up to 32.
func groupsOf8(values int) int {
	n := values / 8
	if values%64 != 0 || n == 0 || n > 32 {
		panic("simd: eight groups of 8, 16, 24 or 32 values")
	}
	return n
}

// Groups8 sets dst[8*i+g] = src[g*n+i] for eight groups g of n values.
func Groups8(dst, src []float32) {
	same(len(dst), len(src))
	n := groupsOf8(len(src))
	if impl.x86() {
		groups8(&dst[0], &src[0], n)
		return
	}
	for g := range 8 {
		for i, v := range src[g*n : (g+1)*n] {
			dst[8*i+g] = v
		}
	}
}

// WeighSpread8 sets w to the root of the mean square of each group plus the value's magnitude.
func WeighSpread8(w, x []float32) {
	same(len(w), len(x))
	n := groupsOf8(len(x))
	if impl.x86() {
		weighSpread8(&w[0], &x[0], n)
		return
	}
	weighSpreadGeneric(w, x, n)
}

// WeighImportance sets w = importance * sqrt(sigma2 + x*x), value by value.
func WeighImportance(w, importance, x []float32, sigma2 float32) {
	same(len(w), len(x))
	same(len(importance), len(x))
	n := 0
	if impl.x86() && len(x) >= 8 {
		n = len(x) &^ 7
		weighImportance(&w[0], &importance[0], &x[0], n, sigma2)
	}
	weighImportanceGeneric(w[n:], importance[n:], x[n:], sigma2)
}

// FitAffine8 finds for each group a scale >= 0 and a least value <= 0 that minimize the weighted error of
// x ~ scale*l + least for integers l in [0, nmax]: of the codes of each grid the best scale and least value follow from
// the normal equations, and the least value found is where the next grids begin.
func FitAffine8(f *Fit8, x, w []float32, nmax int, g AffineGrid) {
	same(len(w), len(x))
	n := groupsOf8(len(x))
	switch {
	case !impl.x86():
		fitAffineGeneric(f, x, w, n, int32(nmax), g)
	case g.Absolute:
		fitAffineAbs8(f.slots(), &x[0], &w[0], n, nmax, g.Count, g.First, g.Step)
	default:
		fitAffine8(f.slots(), &x[0], &w[0], n, nmax, g.Count, g.First, g.Step)
	}
}

// slots returns the state as the kernels see it.
func (f *Fit8) slots() *float32 { return &f.Scale[0] }

// FitSymmetric8 finds for each group the scale that minimizes the weighted squared error of x ~ scale*l for integers l in
// [-nmax, nmax-1]. Nineteen grids are tried: the largest magnitude lies on -nmax, then 0.1 to 0.9 of a step beside it. Of
// each grid's codes the best scale is sum(w x l)/sum(w l l), and what it explains is sum(w x l)^2/sum(w l l).
func FitSymmetric8(f *Fit8, x, w []float32, nmax int) {
	same(len(w), len(x))
	n := groupsOf8(len(x))
	if impl.x86() {
		fitSymmetric8(f.slots(), &x[0], &w[0], n, nmax)
		return
	}
	fitSymmetricGeneric(f, x, w, n, int32(nmax))
}

// FitDescend8 is FitSymmetric8 with weights x*x by coordinate descent: from the grid that puts the largest magnitude on
// -nmax, up to five rounds move single codes to their best place while that explains more. Only Scale is set.
func FitDescend8(f *Fit8, x []float32, nmax int) {
	n := groupsOf8(len(x))
	if impl.x86() {
		fitDescend8(f.slots(), &x[0], n, nmax)
		return
	}
	fitDescendGeneric(f, x, n, int32(nmax))
}

// Codes sets l to the codes of a group that FitDescend8 left, plus nmax; all 0 for a group of zeros.
func (f *Fit8) Codes(l []uint8, g, nmax int) {
	for i := range l {
		if l[i] = uint8(nmax + int(f.trial[i][g])); f.empty[g] != 0 {
			l[i] = 0
		}
	}
}

// FitIQ4 finds for each group the scale that minimizes the weighted squared error of x ~ scale*v for values v of the table
// of IQ4: the largest magnitude is tried on the table's first value and on fifteen places from 7 below to 7 above it.
func FitIQ4(f *Fit8, x, w []float32) {
	same(len(w), len(x))
	n := groupsOf8(len(x))
	if impl.x86() {
		fitIQ48(f.slots(), &x[0], &w[0], n)
		return
	}
	fitIQ4Generic(f, x, w, n)
}

// RoundIQ4 sets l to the indexes of the table values nearest to inverse*x. Lengths are a multiple of 16.
func RoundIQ4(l []uint8, x []float32, inverse float32) {
	n := sixteens(l, x)
	if impl.x86() {
		roundIQ4(&l[0], &x[0], n, inverse)
		return
	}
	for i, v := range x {
		l[i] = IQ4Index(inverse * v)
	}
}

// RoundMul sets l = inverse*(x-least) to the nearest integer, ties to even, clamped to [lo, hi], minus lo. Lengths are a
// multiple of 16.
func RoundMul(l []uint8, x []float32, inverse, least float32, lo, hi int) {
	n := sixteens(l, x)
	if impl.x86() {
		codesMul(&l[0], &x[0], n, lo, hi, inverse, least)
		return
	}
	for i, v := range x {
		l[i] = uint8(max(int32(lo), min(int32(hi), nearestInt(float32(inverse*(v-least))))) - int32(lo))
	}
}

// RoundDiv sets l = (x+least)/scale likewise.
func RoundDiv(l []uint8, x []float32, scale, least float32, lo, hi int) {
	n := sixteens(l, x)
	if impl.x86() {
		codesDiv(&l[0], &x[0], n, lo, hi, scale, least)
		return
	}
	for i, v := range x {
		l[i] = uint8(max(int32(lo), min(int32(hi), nearestInt((v+least)/scale))) - int32(lo))
	}
}

func sixteens(l []uint8, x []float32) int {
	same(len(l), len(x))
	if len(x) == 0 || len(x)%16 != 0 {
		panic("simd: the number of values is a multiple of 16")
	}
	return len(x)
}

// EncodeQ8_0 writes blocks of 32 values as a half scale max|x|/127 and 32 bytes, rounded to nearest, ties away from zero.
func EncodeQ8_0(dst []byte, src []float32) {
	blocks := len(src) / 32
	same(len(src), 32*blocks)
	same(len(dst), 34*blocks)
	if blocks == 0 {
		return
	}
	if impl.x86() {
		encodeQ8_0(&dst[0], &src[0], blocks)
		return
	}
	encodeQ8Generic(dst, src)
}
