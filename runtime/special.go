package runtime

import (
	"math"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// Recurrent layers.

func (c *compiler) state(size int) int {
	c.plan.states = append(c.plan.states, size)
	return len(c.plan.states) - 1
}

// recurrent emits a step that works along each sequence: f gets a part, its state and its rows.
func (c *compiler) recurrent(n *model.Node, name string, state int, f func(b *batch, p part, state []float32, in [][]float32, out []float32)) {
	var src, widths []int
	for _, in := range n.In {
		src, widths = append(src, c.buf[in]), append(widths, in.Out.Size())
	}
	c.buf[n] = c.alloc(n.Out.Size())
	for _, in := range n.In {
		c.use(in)
	}
	dst, width, id := c.buf[n], n.Out.Size(), c.state(state)
	c.step(name, func(b *batch) {
		out := b.f(dst, width)
		for _, p := range b.parts {
			in := make([][]float32, len(src))
			for i, s := range src {
				in[i] = b.f(s, widths[i])[p.lo*widths[i] : (p.lo+p.n)*widths[i]]
			}
			f(b, p, p.s.states[id], in, out[p.lo*width:(p.lo+p.n)*width])
		}
	})
}

func (c *compiler) conv(n *model.Node) {
	width := n.Out.Size()
	taps := n.Weight(0).Dims[1].Size()
	w, bias := n.Weight(0), n.Weight(1)
	c.recurrent(n, "conv", width*(taps-1), func(b *batch, p part, past []float32, in [][]float32, out []float32) {
		x, k, shift := in[0], b.e.vecs[w], b.e.vec(bias)
		par.For(width, 64, func(lo, hi int) {
			for j := lo; j < hi; j++ {
				for i := range p.n {
					var sum float32
					if shift != nil {
						sum = shift[j]
					}
					for t := range taps {
						at := i - taps + 1 + t
						if at >= 0 {
							sum += k[j*taps+t] * x[at*width+j]
						} else {
							sum += k[j*taps+t] * past[(at+taps-1)*width+j]
						}
					}
					out[i*width+j] = sum
				}
				for t := range taps - 1 { // the last taps-1 inputs become the past
					at := p.n - (taps - 1) + t
					if at >= 0 {
						past[t*width+j] = x[at*width+j]
					} else {
						past[t*width+j] = past[(at+taps-1)*width+j]
					}
				}
			}
		})
	})
}

func (c *compiler) scan(n *model.Node) {
	width := n.Out.Size()
	states := n.Weight(0).Dims[1].Size()
	logA, skip := n.Weight(0), n.Weight(1)
	c.recurrent(n, "scan", width*states, func(b *batch, p part, h []float32, in [][]float32, out []float32) {
		x, dt, bb, cc := in[0], in[1], in[2], in[3]
		al, d := b.e.vecs[logA], b.e.vecs[skip]
		par.For(width, 16, func(lo, hi int) {
			for j := lo; j < hi; j++ {
				for i := range p.n {
					u, step := x[i*width+j], dt[i*width+j]
					y := d[j] * u
					for s := range states {
						a := -math.Exp(float64(al[j*states+s]))
						v := float32(math.Exp(float64(step)*a))*h[j*states+s] + step*bb[i*states+s]*u
						h[j*states+s] = v
						y += cc[i*states+s] * v
					}
					out[i*width+j] = y
				}
			}
		})
	})
}

// delta keeps a matrix [key dim, value dim] for each value head. What the rule means is in package reference.
func (c *compiler) delta(n *model.Node) {
	d, logA, dt := n.Delta, n.Weight(0), n.Weight(1)
	keys, values, size := d.KeyHeads*d.KeyDim, d.ValueHeads*d.ValueDim, d.KeyDim*d.ValueDim
	scale := float32(1 / math.Sqrt(float64(d.KeyDim)))
	unit := func(y, x []float32, scale float32) {
		simd.Scale(y, x, scale/float32(math.Sqrt(float64(simd.SumSquares(x))+1e-6)))
	}
	c.recurrent(n, "delta", d.ValueHeads*size, func(b *batch, p part, state []float32, in [][]float32, out []float32) {
		a, bias := b.e.vecs[logA], b.e.vecs[dt]
		par.For(d.ValueHeads, 1, func(lo, hi int) {
			q, k, change := make([]float32, d.KeyDim), make([]float32, d.KeyDim), make([]float32, d.ValueDim)
			for h := lo; h < hi; h++ {
				s, rate := state[h*size:][:size], -math.Exp(float64(a[h]))
				for i := range p.n {
					at := i*keys + h%d.KeyHeads*d.KeyDim
					unit(q, in[0][at:][:d.KeyDim], scale)
					unit(k, in[1][at:][:d.KeyDim], 1)
					beta := float32(1 / (1 + math.Exp(-float64(in[3][i*d.ValueHeads+h]))))
					alpha := float64(in[4][i*d.ValueHeads+h] + bias[h])
					simd.Scale(s, s, float32(math.Exp(rate*(max(alpha, 0)+math.Log1p(math.Exp(-math.Abs(alpha)))))))
					copy(change, in[2][i*values+h*d.ValueDim:])
					for j, x := range k {
						simd.Axpy(change, s[j*d.ValueDim:][:d.ValueDim], -x)
					}
					y := out[i*values+h*d.ValueDim:][:d.ValueDim]
					clear(y)
					for j, x := range k {
						row := s[j*d.ValueDim:][:d.ValueDim]
						simd.Axpy(row, change, x*beta)
						simd.Axpy(y, row, q[j])
					}
				}
			}
		})
	})
}

func (c *compiler) shift(n *model.Node) {
	width, w := n.Out.Size(), n.Weight(0)
	c.recurrent(n, "shift", width, func(b *batch, p part, past []float32, in [][]float32, out []float32) {
		x, mix := in[0], b.e.vecs[w]
		for i := range p.n {
			prev := past
			if i > 0 {
				prev = x[(i-1)*width : i*width]
			}
			for j, m := range mix {
				out[i*width+j] = x[i*width+j]*m + prev[j]*(1-m)
			}
		}
		copy(past, x[(p.n-1)*width:])
	})
}

// wkv keeps numerator, denominator and running maximum per channel; the maximum is stored so that a zero state means an
// empty past.
func (c *compiler) wkv(n *model.Node) {
	width, decay, first := n.Out.Size(), n.Weight(0), n.Weight(1)
	c.recurrent(n, "wkv", 3*width, func(b *batch, p part, state []float32, in [][]float32, out []float32) {
		k, v, td, tf := in[0], in[1], b.e.vecs[decay], b.e.vecs[first]
		par.For(width, 64, func(lo, hi int) {
			for j := lo; j < hi; j++ {
				num, den, top := float64(state[j]), float64(state[width+j]), float64(state[2*width+j])
				if den == 0 {
					top = math.Inf(-1)
				}
				w, u := -math.Exp(float64(td[j])), float64(tf[j])
				for i := range p.n {
					key, val := float64(k[i*width+j]), float64(v[i*width+j])
					m := max(top, u+key)
					a, c := math.Exp(top-m), math.Exp(u+key-m)
					out[i*width+j] = float32((a*num + c*val) / (a*den + c))
					m = max(top+w, key)
					a, c = math.Exp(top+w-m), math.Exp(key-m)
					// Rounded as the state is, so that a prompt in pieces gives the same bits.
					num, den, top = float64(float32(a*num+c*val)), float64(float32(a*den+c)), float64(float32(m))
				}
				state[j], state[width+j], state[2*width+j] = float32(num), float32(den), float32(top)
			}
		})
	})
}
