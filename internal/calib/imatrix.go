package calib

import (
	"context"
	"fmt"
	"slices"

	"github.com/parelm/pare/model"
)

// Imatrix is an importance matrix: sums of the squares of each input channel of matrices, by their names in GGUF files.
// It is what llama.cpp's llama-imatrix writes and its llama-quantize reads.
type Imatrix struct {
	Datasets  []string // what the texts were called
	Chunks    int      // stretches of text
	ChunkSize int      // tokens of each

	entries map[string]*sums
}

// sums of one matrix. Stacked experts have one count and one stretch of sums each; legacy files count chunks and keep
// means times chunks, which makes the same quotient.
type sums struct {
	square []float32 // [matrices, width]
	count  []float32 // [matrices]
}

// legacyChunk is the size of a chunk where a legacy file, which does not say it, is merged with counts of tokens:
// llama-imatrix's default.
const legacyChunk = 512

// Gather runs samples through a model and returns the importances of all its matrices.
func Gather(ctx context.Context, m *model.Model, samples [][]int32, dataset string) (*Imatrix, error) {
	names := m.GGUFNames()
	out := &Imatrix{Datasets: []string{dataset}, Chunks: len(samples), entries: map[string]*sums{}}
	for _, s := range samples {
		out.ChunkSize = max(out.ChunkSize, len(s))
	}
	err := Walk(ctx, m, samples, Needs{Lean: true, Outside: true}, func(_ context.Context, l *Layer) (*model.Model, error) {
		for _, g := range m.Graph.Groups() {
			p := l.Points[g.Input]
			if p == nil {
				continue
			}
			for _, n := range g.Linears {
				for i, w := range n.Weights {
					if w == nil || w.Role != model.RoleMatrix || n.Op == model.OpExperts && i == 2 {
						continue // the inputs of an expert's down projection are not seen from outside
					}
					out.entries[names[w]] = p.sums(len(w.Dims) == 3)
				}
			}
		}
		return nil, nil
	})
	return out, err
}

// sums returns a point's squares as an entry, by expert where experts are stacked.
func (p *Point) sums(stacked bool) *sums {
	s := &sums{}
	if stacked && p.Hits != nil {
		for e, hits := range p.Hits {
			s.count = append(s.count, float32(hits))
			for _, v := range p.ExpertSumSq[e] {
				s.square = append(s.square, float32(v))
			}
		}
		return s
	}
	s.count = []float32{float32(p.Rows)}
	for _, v := range p.SumSq {
		s.square = append(s.square, float32(v))
	}
	return s
}

// Names returns the names of the matrices, sorted.
func (x *Imatrix) Names() []string {
	var names []string
	for n := range x.entries {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Merge adds the sums of another importance matrix.
func (x *Imatrix) Merge(o *Imatrix) error {
	if x.entries == nil {
		x.entries = map[string]*sums{}
	}
	scale := func(m *Imatrix, both bool) float32 { // of counts, where one of the two counts chunks
		if both && m.ChunkSize == 0 {
			return legacyChunk
		}
		return 1
	}
	mixed := len(x.entries) > 0 && (x.ChunkSize == 0) != (o.ChunkSize == 0)
	a, b := scale(x, mixed), scale(o, mixed)
	for _, name := range o.Names() {
		add, have := o.entries[name], x.entries[name]
		if have == nil {
			x.entries[name] = &sums{slices.Clone(add.square), slices.Clone(add.count)}
			continue
		}
		if len(have.square) != len(add.square) || len(have.count) != len(add.count) {
			return fmt.Errorf("importances of %s: %d values of %d matrices, to be merged with %d of %d", name,
				len(have.square), len(have.count), len(add.square), len(add.count))
		}
		for i := range have.square {
			have.square[i] = a*have.square[i] + b*add.square[i]
		}
		for i := range have.count {
			have.count[i] = a*have.count[i] + b*add.count[i]
		}
	}
	x.Datasets = append(x.Datasets, o.Datasets...)
	x.Chunks += o.Chunks
	x.ChunkSize = max(x.ChunkSize, o.ChunkSize)
	return nil
}

// Point returns the importances of a weight as a calibration point, or nil where there are none. It may be called on nil.
func (x *Imatrix) Point(name string, width int) (*Point, error) {
	if x == nil {
		return nil, nil
	}
	s := x.entries[name]
	if s == nil {
		return nil, nil
	}
	counts := s.count
	if n := len(s.square) / max(width, 1); len(counts) == 1 && n > 1 { // one count for all experts, as legacy files have it
		counts = slices.Repeat(counts, n)
	}
	if len(s.square) != width*len(counts) {
		return nil, fmt.Errorf("importances of %s: %d values of %d matrices, its rows have %d", name, len(s.square), len(s.count), width)
	}
	p := &Point{Width: width, SumSq: make([]float64, width)}
	for e, n := range counts {
		part := make([]float64, width)
		for j := range part {
			v, count := float64(s.square[e*width+j]), float64(n)
			if n <= 0 {
				v, count = 1, 1 // an expert that no token reached
			}
			part[j] = v
			p.SumSq[j] += v / count
		}
		p.ExpertSumSq, p.Hits = append(p.ExpertSumSq, part), append(p.Hits, max(int64(n), 1))
	}
	if len(counts) == 1 {
		copy(p.SumSq, p.ExpertSumSq[0])
		p.Rows, p.ExpertSumSq, p.Hits = max(int64(counts[0]), 1), nil, nil
	} else {
		p.Rows = int64(len(counts))
	}
	return p, nil
}
