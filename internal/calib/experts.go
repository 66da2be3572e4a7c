package calib

import (
	"sort"

	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// routers finds, for inputs of experts, the router that shares them out.
type routers map[*model.Node]*router

type router struct {
	weight, bias *model.Weight
	topK         int
	matrix, add  []float32 // the values, read on first use
}

func newRouters(g *model.Graph) routers {
	out := routers{}
	for _, n := range g.Nodes {
		if n.Op != model.OpExperts || len(n.In) < 2 || n.In[1].Op != model.OpRoute {
			continue
		}
		route := n.In[1]
		if linear := route.In[0]; linear.Op == model.OpLinear && linear.In[0] == n.In[0] {
			out[n.In[0]] = &router{weight: linear.Weight(0), bias: linear.Weight(1), topK: route.Route.TopK}
		}
	}
	return out
}

// count adds the tokens that each expert gets, and their squares.
func (r *router) count(m *model.Model, p *Point, x []float32, rows int) error {
	t := m.Tensor(r.weight)
	experts := t.Rows()
	if r.matrix == nil {
		var err error
		if r.matrix, err = t.Float32(); err != nil {
			return err
		}
		if r.bias != nil {
			if r.add, err = m.Tensor(r.bias).Float32(); err != nil {
				return err
			}
		}
	}
	if p.Hits == nil {
		p.Hits, p.ExpertSumSq = make([]int64, experts), make([][]float64, experts)
		for e := range p.ExpertSumSq {
			p.ExpertSumSq[e] = make([]float64, p.Width)
		}
	}
	logits := make([]float32, rows*experts)
	simd.Gemm(logits, experts, x, p.Width, false, r.matrix, p.Width, true, rows, experts, p.Width, false)
	order := make([]int, experts)
	for i := range rows {
		l := logits[i*experts : (i+1)*experts]
		for e := range order {
			order[e] = e
			if r.add != nil {
				l[e] += r.add[e]
			}
		}
		sort.SliceStable(order, func(a, b int) bool { return l[order[a]] > l[order[b]] })
		for _, e := range order[:min(r.topK, experts)] {
			p.Hits[e]++
			for j, v := range x[i*p.Width : (i+1)*p.Width] {
				p.ExpertSumSq[e][j] += float64(v) * float64(v)
			}
		}
	}
	return nil
}
