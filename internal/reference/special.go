package reference

import (
	"math"
	"sort"
)

// Mixtures of experts and recurrent operations.

// route: softmax over all experts, the largest stay (ties to the lower index), divided by their sum if asked.
func (s *step) route() {
	r := s.node.Route
	for i := range s.tokens {
		p := append([]float64(nil), row(s.in[0], i, s.width)...)
		softmax(p)
		order := make([]int, len(p))
		for e := range order {
			order[e] = e
		}
		sort.SliceStable(order, func(a, b int) bool { return p[order[a]] > p[order[b]] })
		sum := 1.0
		if r.Normalize {
			sum = 0
			for _, e := range order[:r.TopK] {
				sum += p[e]
			}
		}
		for _, e := range order[:r.TopK] {
			s.out[i*s.width+e] = p[e] / sum
		}
	}
}

func (s *step) experts() {
	experts := s.node.In[1].Out.Size()
	hidden := s.node.In[0].Out.Size()
	ffn := len(s.w[0]) / experts / hidden
	g, u, d := make([]float64, ffn), make([]float64, ffn), make([]float64, s.width)
	for i := range s.tokens {
		x, route := row(s.in[0], i, hidden), row(s.in[1], i, experts)
		y := row(s.out, i, s.width)
		for e, weight := range route {
			if weight == 0 {
				continue
			}
			matvec(g, s.w[0][e*ffn*hidden:][:ffn*hidden], x)
			matvec(u, s.w[1][e*ffn*hidden:][:ffn*hidden], x)
			s.bias(g, 3, e)
			s.bias(u, 4, e)
			for j := range g {
				if l := s.node.Limit; l != 0 {
					g[j], u[j] = min(g[j], l), 1+min(max(u[j], -l), l)
				}
				g[j] = activate(s.node.Act, g[j]) * u[j]
			}
			matvec(d, s.w[2][e*s.width*ffn:][:s.width*ffn], g)
			s.bias(d, 5, e)
			for j := range y {
				y[j] += weight * d[j]
			}
		}
	}
}

// bias adds row e of weight i, where there is one.
func (s *step) bias(y []float64, i, e int) {
	if i < len(s.w) && s.w[i] != nil {
		for j := range y {
			y[j] += float64(s.w[i][e*len(y)+j])
		}
	}
}

// conv: y[t] = bias + sum over taps of w[tap] x[t - taps + 1 + tap], zeros before the first token.
func (s *step) conv() {
	taps := len(s.w[0]) / s.width
	for i := range s.tokens {
		for j := range s.width {
			var sum float64
			if s.w[1] != nil {
				sum = float64(s.w[1][j])
			}
			for k := range taps {
				if p := i - taps + 1 + k; p >= 0 {
					sum += float64(s.w[0][j*taps+k]) * s.in[0][p*s.width+j]
				}
			}
			s.out[i*s.width+j] = sum
		}
	}
}

// scan: Mamba's selective state space (Gu & Dao 2023, algorithm 2), per channel j and state n:
// h = exp(dt A) h + dt B x; y = C·h + D x, with A = -exp(A_log).
func (s *step) scan() {
	states := len(s.w[0]) / s.width
	h := make([]float64, s.width*states)
	for i := range s.tokens {
		x, dt := row(s.in[0], i, s.width), row(s.in[1], i, s.width)
		b, c := row(s.in[2], i, states), row(s.in[3], i, states)
		for j := range s.width {
			y := float64(s.w[1][j]) * x[j]
			for n := range states {
				a := -math.Exp(float64(s.w[0][j*states+n]))
				h[j*states+n] = math.Exp(dt[j]*a)*h[j*states+n] + dt[j]*b[n]*x[j]
				y += c[n] * h[j*states+n]
			}
			s.out[i*s.width+j] = y
		}
	}
}

// delta: the gated delta rule (Yang et al. 2024, eq. 10) with a state S [key dim, value dim] for each value head, by unit vectors of q and k:
// S = e^g S; S = S + k (beta (v - kᵀS)); y = qᵀS / sqrt(key dim), with beta = sigmoid(beta) and g = -e^A_log softplus(alpha + dt_bias).
func (s *step) delta() {
	d := s.node.Delta
	unit := func(x []float64) []float64 {
		square, y := 1e-6, make([]float64, len(x))
		for _, v := range x {
			square += v * v
		}
		for i, v := range x {
			y[i] = v / math.Sqrt(square)
		}
		return y
	}
	for h := range d.ValueHeads {
		state := make([]float64, d.KeyDim*d.ValueDim)
		for i := range s.tokens {
			at := h % d.KeyHeads * d.KeyDim
			q := unit(row(s.in[0], i, d.KeyHeads*d.KeyDim)[at:][:d.KeyDim])
			k := unit(row(s.in[1], i, d.KeyHeads*d.KeyDim)[at:][:d.KeyDim])
			v, y := row(s.in[2], i, s.width)[h*d.ValueDim:], row(s.out, i, s.width)[h*d.ValueDim:][:d.ValueDim]
			beta := 1 / (1 + math.Exp(-s.in[3][i*d.ValueHeads+h]))
			alpha := s.in[4][i*d.ValueHeads+h] + float64(s.w[1][h])
			fade := math.Exp(-math.Exp(float64(s.w[0][h])) * (max(alpha, 0) + math.Log1p(math.Exp(-math.Abs(alpha)))))
			for j := range y {
				known := 0.0
				for a, x := range k {
					state[a*d.ValueDim+j] *= fade
					known += x * state[a*d.ValueDim+j]
				}
				for a, x := range k {
					state[a*d.ValueDim+j] += x * beta * (v[j] - known)
					y[j] += q[a] * state[a*d.ValueDim+j] / math.Sqrt(float64(d.KeyDim))
				}
			}
		}
	}
}

func (s *step) shift() {
	for i := range s.out {
		mix, prev := float64(s.w[0][i%s.width]), 0.0
		if i >= s.width {
			prev = s.in[0][i-s.width]
		}
		s.out[i] = s.in[0][i]*mix + prev*(1-mix)
	}
}

// wkv: RWKV v4 (Peng et al. 2023, eq. 14-16) with a running maximum: a weighted mean of v with weights exp(k) that decay
// by exp(-exp(decay)) a token, the current token's weight raised by first.
func (s *step) wkv() {
	for j := range s.width {
		decay, first := -math.Exp(float64(s.w[0][j])), float64(s.w[1][j])
		num, den, top := 0.0, 0.0, math.Inf(-1)
		for i := range s.tokens {
			k, v := s.in[0][i*s.width+j], s.in[1][i*s.width+j]
			m := max(top, first+k)
			a, b := math.Exp(top-m), math.Exp(first+k-m)
			s.out[i*s.width+j] = (a*num + b*v) / (a*den + b)
			m = max(top+decay, k)
			a, b = math.Exp(top+decay-m), math.Exp(k-m)
			num, den, top = a*num+b*v, a*den+b, m
		}
	}
}
