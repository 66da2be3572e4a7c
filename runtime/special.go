package runtime

import (
	"math"
	"sort"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// Mixtures of experts and recurrent layers.

func (c *compiler) route(n *model.Node) {
	in := n.In[0]
	src := c.buf[in]
	if !c.output(n, in) {
		c.use(in)
	}
	dst, width, r := c.buf[n], n.Out.Size(), *n.Route
	c.rows("route", width, func(b *batch, t int) { routeRow(b.row(dst, width, t), b.row(src, width, t), r) })
}

// routeRow keeps the TopK largest of softmax(x), ties to the lower index, and zeroes the rest.
func routeRow(y, x []float32, r model.Route) {
	p := append([]float32(nil), x...)
	simd.Softmax(p, p)
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool { return p[order[i]] > p[order[j]] })
	sum := float32(1)
	if r.Normalize {
		sum = 0
		for _, i := range order[:r.TopK] {
			sum += p[i]
		}
	}
	clear(y)
	for _, i := range order[:r.TopK] {
		y[i] = p[i] / sum
	}
}

// experts gathers the rows of each expert, multiplies them together, and adds the results back.
func (c *compiler) experts(n *model.Node) {
	x, route := n.In[0], n.In[1]
	xb, rb := c.buf[x], c.buf[route]
	c.buf[n] = c.alloc(n.Out.Size())
	dst, hidden, count := c.buf[n], n.Out.Size(), route.Out.Size()
	c.use(x)
	c.use(route)
	gate, up, down := n.Weight(0), n.Weight(1), n.Weight(2)
	gateBias, upBias, downBias := n.Weight(3), n.Weight(4), n.Weight(5)
	width, ffn, act, limit := x.Out.Size(), gate.Dims[1].Size(), activation(n.Act), float32(n.Limit)
	c.step("experts", func(b *batch) {
		in, weights, out := b.f(xb, width), b.f(rb, count), b.f(dst, hidden)
		b.tap(x, in)
		clear(out)
		for e := range count {
			var rows []int
			for t := range b.rows {
				if weights[t*count+e] != 0 {
					rows = append(rows, t)
				}
			}
			if len(rows) == 0 {
				continue
			}
			k := len(rows)
			xs, g, u, d := make([]float32, k*width), make([]float32, k*ffn), make([]float32, k*ffn), make([]float32, k*hidden)
			for i, t := range rows {
				copy(xs[i*width:], in[t*width:(t+1)*width])
			}
			b.slab(gate, e, g, xs, k, width)
			b.slab(up, e, u, xs, k, width)
			b.slabBias(gateBias, e, g, k)
			b.slabBias(upBias, e, u, k)
			if limit != 0 {
				for i := range g {
					g[i], u[i] = min(g[i], limit), 1+min(max(u[i], -limit), limit)
				}
			}
			act(g, g)
			simd.Mul(g, g, u)
			b.slab(down, e, d, g, k, ffn)
			b.slabBias(downBias, e, d, k)
			for i, t := range rows {
				w := weights[t*count+e]
				for j := range hidden {
					out[t*hidden+j] += w * d[i*hidden+j]
				}
			}
		}
	})
}

// slab multiplies n rows of x with one expert of a stacked matrix.
func (b *batch) slab(w *model.Weight, expert int, dst, x []float32, n, cols int) {
	m, rows := b.e.mats[w], w.Dims[1].Size()
	a := &b.e.acts
	a.reset(b.e.rounder.round(w, x, n, cols), n, cols, m.Form(b.prompt))
	par.For(rows, taskRows(rows), func(lo, hi int) {
		mul(m, dst[lo:], rows, a, expert*rows+lo, expert*rows+hi, false)
	})
}

// slabBias adds one expert's bias to n rows of x, where there are biases.
func (b *batch) slabBias(w *model.Weight, expert int, x []float32, n int) {
	if w == nil {
		return
	}
	width := len(x) / n
	bias := b.e.vecs[w][expert*width:][:width]
	for i := range n {
		row := x[i*width:][:width]
		simd.Add(row, row, bias)
	}
}

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
