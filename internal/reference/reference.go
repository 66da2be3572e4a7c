// Package reference is the slow, obvious executor: it says what every operation means. It works in float64 on whole
// sequences, one node after the other, keeps every value, and has no cache, no fusion and no threads. The fast runtime
// and the training graph are tested against it.
package reference

import (
	"fmt"
	"math"

	"github.com/parelm/pare/model"
)

// Weights gives the values of a weight, rows of the last dimension one after the other.
type Weights func(w *model.Weight) ([]float32, error)

// Trace holds the value of every node of one run: Trace[node.ID] is [tokens, width], row by row.
type Trace [][]float64

// Run executes the graph on one sequence of token ids, positions from 0.
func Run(g *model.Graph, weights Weights, ids []int32) (Trace, error) {
	t := make(Trace, len(g.Nodes))
	for _, n := range g.Nodes {
		x := &step{node: n, ids: ids, tokens: len(ids), width: n.Out.Size()}
		for _, in := range n.In {
			x.in = append(x.in, t[in.ID])
		}
		for _, w := range n.Weights {
			var v []float32
			if w != nil {
				var err error
				if v, err = weights(w); err != nil {
					return nil, err
				}
			}
			x.w = append(x.w, v)
		}
		x.out = make([]float64, x.tokens*x.width)
		if err := x.run(); err != nil {
			return nil, fmt.Errorf("%s %s: %w", n.Op, n.Site, err)
		}
		t[n.ID] = x.out
	}
	return t, nil
}

// step is one node at work.
type step struct {
	node   *model.Node
	ids    []int32
	tokens int
	width  int
	in     [][]float64
	w      [][]float32
	out    []float64
}

// row returns the row of token i in a matrix of that width.
func row(x []float64, i, width int) []float64 { return x[i*width : (i+1)*width] }

func (s *step) run() error {
	n := s.node
	switch n.Op {
	case model.OpEmbed:
		return s.embed()
	case model.OpPosition:
		return s.position()
	case model.OpLinear:
		s.linear()
	case model.OpNorm:
		s.norm()
	case model.OpRope:
		s.rope()
	case model.OpAttention:
		s.attention()
	case model.OpAct:
		s.each(func(x float64) float64 { return activate(n.Act, x) })
	case model.OpAdd:
		for i := range s.out {
			s.out[i] = s.in[0][i] + s.in[1][i]
		}
	case model.OpMul:
		s.mul()
	case model.OpScale:
		s.each(func(x float64) float64 { return n.C * x })
	case model.OpSoftcap:
		s.each(func(x float64) float64 { return n.C * math.Tanh(x/n.C) })
	case model.OpClamp:
		s.each(func(x float64) float64 { return min(max(x, -n.C), n.C) })
	case model.OpRoute:
		s.route()
	case model.OpExperts:
		s.experts()
	case model.OpConv:
		s.conv()
	case model.OpScan:
		s.scan()
	case model.OpDelta:
		s.delta()
	case model.OpShift:
		s.shift()
	case model.OpWKV:
		s.wkv()
	default:
		return fmt.Errorf("unknown operation")
	}
	return nil
}

func (s *step) each(f func(float64) float64) {
	for i, x := range s.in[0] {
		s.out[i] = f(x)
	}
}

func (s *step) embed() error {
	for i, id := range s.ids {
		if id < 0 || int(id)*s.width >= len(s.w[0]) {
			return fmt.Errorf("token id %d, the vocabulary has %d", id, len(s.w[0])/s.width)
		}
		for j := range s.width {
			s.out[i*s.width+j] = float64(s.w[0][int(id)*s.width+j])
		}
	}
	return nil
}

func (s *step) position() error {
	for i := range s.tokens {
		p := i + s.node.Offset
		if (p+1)*s.width > len(s.w[0]) {
			return fmt.Errorf("position %d, the model has %d", i, len(s.w[0])/s.width-s.node.Offset)
		}
		for j := range s.width {
			s.out[i*s.width+j] = float64(s.w[0][p*s.width+j])
		}
	}
	return nil
}

func (s *step) linear() {
	in := s.node.In[0].Out.Size()
	for i := range s.tokens {
		x, y := row(s.in[0], i, in), row(s.out, i, s.width)
		matvec(y, s.w[0], x)
		if len(s.w) > 1 && s.w[1] != nil {
			for j := range y {
				y[j] += float64(s.w[1][j])
			}
		}
	}
}

// matvec sets y = W x for W [len(y), len(x)].
func matvec(y []float64, w []float32, x []float64) {
	for j := range y {
		var sum float64
		for k, v := range x {
			sum += v * float64(w[j*len(x)+k])
		}
		y[j] = sum
	}
}

func (s *step) norm() {
	n := s.node.Norm
	part := s.width / n.Groups
	for i := range s.tokens * n.Groups {
		x, y := row(s.in[0], i, part), row(s.out, i, part)
		var mean, square float64
		if n.Kind == "layer" {
			for _, v := range x {
				mean += v
			}
			mean /= float64(part)
		}
		for _, v := range x {
			square += (v - mean) * (v - mean)
		}
		inv := 1 / math.Sqrt(square/float64(part)+n.Eps)
		for j, v := range x {
			y[j] = (v - mean) * inv
			k := j // a scale of one part serves all; a longer one has its own for each
			if s.w[0] != nil {
				if len(s.w[0]) > part {
					k += i % n.Groups * part
				}
				scale := float64(s.w[0][k])
				if n.PlusOne {
					scale++
				}
				y[j] *= scale
			}
			if s.w[1] != nil {
				y[j] += float64(s.w[1][k])
			}
		}
	}
}

func (s *step) rope() {
	r, head := s.node.Rope, s.node.Out.Block
	freq, magnitude := r.Frequencies(s.tokens)
	copy(s.out, s.in[0])
	for i := range s.tokens {
		y, magnitude := row(s.out, i, s.width), magnitude*r.Grown(i)
		for h := 0; h < s.width; h += head {
			for j, f := range freq {
				a, b := h+j, h+j+r.Dim/2
				if r.Interleaved {
					a, b = h+2*j, h+2*j+1
				}
				sin, cos := math.Sincos(float64(float32(i) * float32(f))) // tables are float32 everywhere
				sin, cos = sin*magnitude, cos*magnitude
				y[a], y[b] = y[a]*cos-y[b]*sin, y[a]*sin+y[b]*cos
			}
		}
	}
}

func (s *step) attention() {
	a := s.node.Attn
	qw, kw, vw := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim, a.KVHeads*a.ValueDim
	for i := range s.tokens {
		first := 0
		if a.Window > 0 {
			first = max(0, i-a.Window+1)
		}
		for h := range a.Heads {
			kv := h / (a.Heads / a.KVHeads)
			q := row(s.in[0], i, qw)[h*a.HeadDim:][:a.HeadDim]
			score := make([]float64, i+1-first)
			for p := range score {
				k := row(s.in[1], first+p, kw)[kv*a.HeadDim:][:a.HeadDim]
				for d := range q {
					score[p] += q[d] * k[d]
				}
				score[p] *= a.Scale
				if a.Softcap > 0 {
					score[p] = a.Softcap * math.Tanh(score[p]/a.Softcap)
				}
				score[p] += a.Alibi.Bias(h, first+p)
			}
			if len(s.w) > 0 && s.w[0] != nil { // a key whose value is 0
				score = append(score, float64(s.w[0][h]))
			}
			softmax(score)
			y := row(s.out, i, s.width)[h*a.ValueDim:][:a.ValueDim]
			for p, w := range score[:i+1-first] {
				v := row(s.in[2], first+p, vw)[kv*a.ValueDim:][:a.ValueDim]
				for d := range y {
					y[d] += w * v[d]
				}
			}
		}
	}
}

func softmax(x []float64) {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, v)
	}
	var sum float64
	for i, v := range x {
		x[i] = math.Exp(v - top)
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
}

func (s *step) mul() {
	narrow := s.node.In[1].Out.Size()
	for i := range s.out {
		j := i
		if narrow == 1 && s.width != 1 {
			j = i / s.width
		}
		s.out[i] = s.in[0][i] * s.in[1][j]
	}
}

func activate(a model.Activation, x float64) float64 {
	switch a {
	case model.SiLU:
		return x / (1 + math.Exp(-x))
	case model.GELU:
		return x * 0.5 * (1 + math.Erf(x/math.Sqrt2))
	case model.GELUTanh:
		return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	case model.QuickGELU:
		return x / (1 + math.Exp(-1.702*x))
	case model.ReLU:
		return max(x, 0)
	case model.ReLUSquared:
		return max(x, 0) * max(x, 0)
	case model.Sigmoid:
		return 1 / (1 + math.Exp(-x))
	case model.Softplus:
		return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x)))
	case model.Tanh:
		return math.Tanh(x)
	}
	panic("reference: activation " + string(a))
}
