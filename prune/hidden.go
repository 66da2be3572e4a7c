package prune

import (
	"context"
	"fmt"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/model"
)

// Hidden pruning takes channels of the residual stream away, everywhere at once. Channels are scored as Minitron does
// (Muralidharan et al. 2024, section 2.2): the mean magnitude of the normalised activations that the blocks read, summed
// over all layers.
func hidden(ctx context.Context, m *model.Model, samples [][]int32, s *Settings, r *Report) (*model.Model, error) {
	axis := m.Graph.Axis("hidden")
	keep := s.width(axis.Size, s.Hidden)
	if m.Config.EmbedScale != 0 {
		return nil, fmt.Errorf("a %s model scales its embeddings by its hidden size, which therefore cannot change", m.Config.Family.Name)
	}
	score := make([]float64, axis.Size)
	err := calib.Walk(ctx, m, samples, calib.Needs{}, func(_ context.Context, l *calib.Layer) (*model.Model, error) {
		for _, g := range m.Graph.Groups() { // in drawing order, so that sums do not depend on a map's
			p := l.Points[g.Input]
			if p == nil || g.Input.Layer != l.Index || g.Input.Out.Axis != axis {
				continue
			}
			for j, v := range p.SumAbs {
				score[j] += v / float64(p.Rows)
			}
		}
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	if s.criterion() == "random" {
		score = criteria["random"](&unitScores{units: axis.Size, seed: s.Seed})
	}
	r.Widths[string(axis.Kind)] = [2]int{axis.Size, keep}
	return m.Shrink(model.Selection{axis.Name: largest(score, keep)})
}
