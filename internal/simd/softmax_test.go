package simd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// softmaxPage is SoftmaxPage of one row.
func softmaxPage(x []float32, least float32) (reference, sum float32) {
	top, sums := []float32{least}, []float32{0}
	SoftmaxPage(x, len(x), len(x), top, sums)
	return top[0], sums[0]
}

// Exponentials of a page are near those of float64, words are theirs times the factors, and masked scores behind a page's end
// change no bit.
func TestSoftmaxPage(t *testing.T) {
	inf := float32(math.Inf(-1))
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(91, 92))
		for n := 1; n <= 64; n++ {
			wide := (n + 15) / 16 * 16
			x := random(r, wide)
			for i := range x {
				if x[i] *= 20; i >= n || i > 0 && r.IntN(5) == 0 {
					x[i] = inf
				}
			}
			for _, top := range []float32{inf, 3, 50} {
				got := slices.Clone(x)
				reference, sum := softmaxPage(got, top)
				if want := max(top, slices.Max(x)); reference != want {
					t.Fatalf("reference %v, want %v", reference, want)
				}
				var total float64
				for i, v := range got {
					want := math.Exp(float64(x[i]) - float64(reference))
					total += want
					if math.Abs(float64(v)-want) > 1e-5*want+1.2e-38 {
						t.Fatalf("e^(%v-%v) is %v, want %v", x[i], reference, v, want)
					}
				}
				if math.Abs(float64(sum)-total) > 1e-5*total+1e-36 {
					t.Fatalf("sum %v, want %v", sum, total)
				}
			}
			const step, rows = 80, 3
			ldx, ldp := wide+r.IntN(9), 2*step+r.IntN(9)
			factor, p := random(r, 2*step), make([]int16, rows*ldp)
			for i := range factor {
				factor[i] = WordMax * float32(math.Abs(float64(factor[i])))
			}
			all, tops, sums := make([]float32, rows*ldx), make([]float32, rows), make([]float32, rows)
			for row := range rows {
				for i, v := range x {
					all[row*ldx+i] = v * float32(row+1)
				}
			}
			before := slices.Clone(all)
			pageWords(p, ldp, all, ldx, wide, factor, step, 2, tops, sums)
			for row := range rows {
				e := before[row*ldx:][:wide]
				if top, sum := softmaxPage(e, inf); tops[row] != top || sums[row] != sum {
					t.Fatalf("reference %v, sum %v; alone %v and %v", tops[row], sums[row], top, sum)
				}
				for i, v := range p[row*ldp:][:ldp] {
					want := int16(0)
					if j := i % step; j < wide && i < 2*step {
						want = int16(math.RoundToEven(float64(e[j] * factor[i])))
					}
					if v != want {
						t.Fatalf("word %d is %d, want %d", i, v, want)
					}
				}
			}
			e, top, sum := before[:wide], tops[0], sums[0]
			longer := append(slices.Clone(x), slices.Repeat([]float32{inf}, 16)...)
			if again, total := softmaxPage(longer, inf); again != top || total != sum || !slices.Equal(longer[:wide], e) {
				t.Fatalf("%d scores: masked scores behind them change bits", n)
			}
		}
		empty := slices.Repeat([]float32{inf}, 32)
		if top, sum := softmaxPage(empty, inf); top != inf || sum != 0 || slices.Max(empty) != 0 {
			t.Fatalf("a page of masked scores has the reference %v and the sum %v", top, sum)
		}
	})
}

// Factors are the scales brought up to the largest word, in the same bits everywhere, whatever pages they lie in, and scales of nothing do no harm.
func TestWordFactors(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(95, 96))
		for n := 16; n <= 144; n += 16 {
			const step, blocks = 144, 3
			d, factor, unit := random(r, step*blocks), make([]float32, step*blocks), make([]float32, blocks)
			for i, v := range d {
				d[i] = float32(math.Abs(float64(v)))
			}
			clear(d[step : 2*step])
			per, at := 16*(1+r.IntN(10)), 4*r.IntN(3)
			var pages [][]byte
			for i := 0; i < n; i += per {
				page := make([]byte, at+4*per*blocks)
				for b := range blocks {
					copy(page[at+4*b*per:], BytesOf(d[b*step+i : (b+1)*step])[:4*min(per, step-i)])
				}
				pages = append(pages, page)
			}
			WordFactors(factor, unit, step, pages, at, per, n)
			for b := range blocks {
				largest := max(0x1p-100, slices.Max(d[b*step:][:n]))
				if unit[b] != largest/WordMax {
					t.Fatalf("%d scales: a word stands for %v, want %v", n, unit[b], largest/WordMax)
				}
				for i, v := range factor[b*step:][:step] {
					want := d[b*step+i] * (WordMax / largest)
					if i >= n {
						want = 0
					}
					if v != want {
						t.Fatalf("%d scales: factor %d of block %d is %v, want %v", n, i, b, v, want)
					}
				}
			}
			WordFactors(d, unit, step, [][]byte{BytesOf(d)}, 0, step, n)
			if !slices.Equal(d[2*step:][:n], factor[2*step:][:n]) {
				t.Fatalf("%d scales: other factors in place", n)
			}
		}
	})
}

// Pages that are merged give the words of pageWords, and references, sums and scales as the definition has them.
func TestMergeWords(t *testing.T) {
	inf := float32(math.Inf(-1))
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(91, 92))
		for rows := 1; rows < 40; rows++ {
			const step, blocks, ldp, ldx = 64, 2, 130, 65
			n, lds := 16+16*r.IntN(4), rows+16
			x, factor, unit := random(r, rows*ldx), random(r, blocks*step), random(r, blocks)
			for i, v := range factor {
				factor[i] = WordMax * min(1, float32(math.Abs(float64(v))))
			}
			top, sum, fade, scale := random(r, rows+16), random(r, rows+16), make([]float32, rows+16), make([]float32, blocks*lds)
			for i := range rows {
				if i%5 == 1 || i%5 == 3 {
					top[i], sum[i] = inf, 0
				}
				if i%5 == 2 || i%5 == 3 {
					for j := range n {
						x[i*ldx+j] = inf
					}
				}
			}
			words, same := make([]int16, rows*ldp), make([]int16, rows*ldp)
			page, total, clone := make([]float32, rows), make([]float32, rows), slices.Clone(x)
			pageWords(same, ldp, clone, ldx, n, factor, step, blocks, page, total)
			old, before := slices.Clone(top), slices.Clone(sum)
			enough, bytes := -inf, make([]bool, rows)
			if rows%3 > 0 {
				enough = float32(rows%3) * 0.3
			}
			MergeWords(&WordPage{X: x, P: words, Factor: factor, Unit: unit, Top: top, Sum: sum, Fade: fade, Scale: scale, Bytes: bytes,
				N: n, LDX: ldx, LDP: ldp, Step: step, LDS: lds, Enough: enough, Ask: [2][]byte{BytesOf(x)[:r.IntN(200)], BytesOf(x)[:r.IntN(2)]}})
			for i, yes := range bytes {
				m := max(old[i], page[i])
				share := math.Exp(float64(old[i]-m))*float64(before[i]) - float64(enough)*math.Exp(float64(page[i]-m))
				if i%5 != 3 && math.Abs(share) > 1e-5 && yes != (share > 0) {
					t.Fatalf("row %d of %d is bytes: %v, but the pages before are %v times %v of its largest", i, rows, yes, share, enough)
				}
				for b := 0; yes && b < blocks; b++ {
					unsignedRow(same[i*ldp+b*step:][:n])
					scale[b*lds+i] /= 128
				}
			}
			for i := range rows {
				for b := range blocks {
					size := n
					if bytes[i] && impl == avx512 { // two in a word
						size /= 2
					}
					if at := i*ldp + b*step; !slices.Equal(words[at:][:size], same[at:][:size]) {
						t.Fatalf("row %d of %d: other words, bytes %v", i, rows, bytes[i])
					}
				}
			}
			for i := range rows {
				m := max(old[i], page[i])
				f, h := math.Exp(float64(old[i]-m)), math.Exp(float64(page[i]-m))
				if i%5 == 3 {
					f, h = 0, 0
				}
				want := f*float64(before[i]) + h*float64(total[i])
				if top[i] != m || math.Abs(float64(fade[i])-f) > 1e-6 || math.Abs(float64(sum[i])-want) > 1e-5*max(1, math.Abs(want)) {
					t.Fatalf("row %d of %d: %v and %v became %v, times %v, sum %v; want times %v, sum %v", i, rows, old[i], page[i], top[i], fade[i], sum[i], f, want)
				}
				for b, u := range unit {
					if got, want := float64(scale[b*lds+i]), h*float64(u); math.Abs(got-want) > 1e-6 {
						t.Fatalf("row %d of %d: a word of block %d stands for %v, want %v", i, rows, b, got, want)
					}
				}
			}
		}
	})
}
