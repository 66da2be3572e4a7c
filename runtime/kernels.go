package runtime

import (
	"regexp"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/model"
)

// KernelUse is the weights of one place in the layers and the code that multiplies with them.
type KernelUse struct {
	Class  string `json:"class"`  // the weight's name with N for the layer
	Kernel string `json:"kernel"` // implementation and format
	Bytes  int64  `json:"bytes"`  // of all layers, as they lie in memory
	Rows   bool   `json:"rows"`   // a token reads single rows, not all
}

var layerNumber = regexp.MustCompile(`\.[0-9]+\.`)

// Kernels lists the loaded matrices by class, in the order of the graph, and the bytes of them that writing one token reads:
// all but embeddings that are no head, and of stacked experts the share that a token goes through.
func (e *Engine) Kernels() (uses []KernelUse, token int64) {
	products, share := map[*model.Weight]bool{}, map[*model.Weight]float64{}
	for _, n := range e.Model.Graph.Nodes {
		for _, w := range n.Weights {
			if n.Op == model.OpLinear || n.Op == model.OpExperts {
				products[w] = true
			}
			if n.Op == model.OpExperts {
				route := n.In[1]
				share[w] = float64(route.Route.TopK) / float64(route.Out.Size())
			}
		}
	}
	at := map[[2]string]int{}
	for _, w := range e.Model.Graph.Weights {
		m := e.mats[w]
		if m == nil {
			continue
		}
		key := [2]string{layerNumber.ReplaceAllString(w.Name, ".N."), m.Kernel()}
		i, ok := at[key]
		if !ok {
			i = len(uses)
			at[key] = i
			uses = append(uses, KernelUse{Class: key[0], Kernel: key[1], Rows: !products[w]})
		}
		uses[i].Bytes += m.Bytes()
		if products[w] {
			s, stacked := share[w]
			if !stacked {
				s = 1
			}
			token += int64(s * float64(m.Bytes()))
		}
	}
	return uses, token
}

// readBytes is about how much of a weight is read at once.
const readBytes = 1 << 20

// ReadWeights loads all matrices that are multiplied with, in the order of the graph on all threads, does nothing with them, and
// returns how many bytes they take. A token cannot be faster than that.
func (e *Engine) ReadWeights() int64 {
	type piece struct {
		m      matrix
		lo, hi int
	}
	var pieces []piece
	var total int64
	seen := map[*model.Weight]bool{}
	for _, n := range e.Model.Graph.Nodes {
		if n.Op != model.OpLinear && n.Op != model.OpExperts {
			continue
		}
		for _, w := range n.Weights {
			m := e.mats[w]
			if m == nil || seen[w] {
				continue
			}
			seen[w] = true
			total += m.Bytes()
			rows, _ := m.Size()
			step := max(16, int(readBytes*int64(rows)/m.Bytes())&^15)
			for lo := 0; lo < rows; lo += step {
				pieces = append(pieces, piece{m, lo, min(lo+step, rows)})
			}
		}
	}
	par.For(len(pieces), 1, func(i, _ int) { pieces[i].m.Read(pieces[i].lo, pieces[i].hi) })
	return total
}
