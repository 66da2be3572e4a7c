package model

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// Random returns a model of freshly initialised float32 weights, the same for the same seed: matrices and embeddings
// normal with standard deviation 0.02, those that write to the residual stream divided by sqrt(2 layers) (Radford et al.
// 2019), scales 1 (0 where the model adds one), shifts and biases 0. Weights are computed when they are read.
func Random(c *Config, seed uint64) *Model {
	m := &Model{Config: c, Graph: Draw(c), tensors: map[*Weight]*tensor.Tensor{}}
	f32, err := codec.Lookup("f32")
	if err != nil {
		panic(err) // registered by package codec itself
	}
	norms := map[*Weight]bool{}
	for _, n := range m.Graph.Nodes {
		if n.Op == OpNorm {
			norms[n.Weight(0)] = true
		}
	}
	for _, w := range m.Graph.Weights {
		i := initial{name: w.Name, seed: seed, cols: w.Shape()[len(w.Dims)-1]}
		switch {
		case norms[w]:
			if !c.Norm.PlusOne {
				i.mean = 1
			}
		case strings.HasSuffix(w.Name, ".bias"):
		case strings.HasSuffix(w.Name, ".o"), strings.HasSuffix(w.Name, ".down"):
			i.std = 0.02 / sqrt(2*float64(len(c.Layers)))
		case w.Role == RoleVector && w.Name != "positions":
			i.mean, i.std = 0.5, 0.1 // mixing factors, taps and decays of recurrent layers
		default:
			i.std = 0.02
		}
		m.tensors[w] = &tensor.Tensor{Name: w.Name, Codec: f32, Shape: w.Shape(), Src: i}
	}
	return m
}

// initial computes rows of an initial weight.
type initial struct {
	name      string
	seed      uint64
	cols      int
	mean, std float64
}

func (i initial) ReadRows(dst []byte, lo, hi int) error {
	id := rng.Hash(i.name)
	for r := lo; r < hi; r++ {
		s := rng.New(i.seed, id, uint64(r))
		for j := range i.cols {
			v := i.mean
			if i.std > 0 {
				v += i.std * s.Normal()
			}
			binary.LittleEndian.PutUint32(dst[4*((r-lo)*i.cols+j):], math.Float32bits(float32(v)))
		}
	}
	return nil
}
