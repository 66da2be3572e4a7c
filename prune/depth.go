package prune

// Depth pruning by block influence (ShortGPT, Men et al. 2024, eq. 1): the influence of a layer is one minus the mean
// cosine between the residual stream before and after it. The layers with the least influence go; ties go to the later
// layer.

import (
	"context"
	"math"
	"sort"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/model"
)

// layersKept returns how many layers a ratio leaves.
func layersKept(layers int, ratio float64) int {
	return max(1, int(math.Round(ratio*float64(layers))))
}

func depth(ctx context.Context, m *model.Model, samples [][]int32, s *Settings, r *Report) (*model.Model, error) {
	hidden := m.Config.Hidden
	r.Influence = make([]float64, len(m.Config.Layers))
	err := calib.Walk(ctx, m, samples, calib.Needs{}, func(_ context.Context, l *calib.Layer) (*model.Model, error) {
		var sum float64
		rows := 0
		for i := range l.In {
			for lo := 0; lo < len(l.In[i]); lo += hidden {
				sum += cosine(l.In[i][lo:lo+hidden], l.Out[i][lo:lo+hidden])
				rows++
			}
		}
		r.Influence[l.Index] = 1 - sum/float64(rows)
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	score := r.Influence
	if s.criterion() == "random" {
		score = criteria["random"](&unitScores{units: len(r.Influence), seed: s.Seed})
	}
	keep := largest(score, layersKept(len(score), s.Depth))
	stays := map[int]bool{}
	for _, l := range keep {
		stays[l] = true
	}
	for l := range score {
		if !stays[l] {
			r.Layers = append(r.Layers, l)
		}
	}
	return m.KeepLayers(keep)
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i, v := range a {
		ab += float64(v) * float64(b[i])
		aa += float64(v) * float64(v)
		bb += float64(b[i]) * float64(b[i])
	}
	if aa == 0 || bb == 0 {
		return 1
	}
	return ab / math.Sqrt(aa*bb)
}

// largest returns the places of the n largest scores in rising order; ties go to the lower place.
func largest(score []float64, n int) []int {
	order := make([]int, len(score))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return score[order[a]] > score[order[b]] })
	keep := append([]int(nil), order[:n]...)
	sort.Ints(keep)
	return keep
}
