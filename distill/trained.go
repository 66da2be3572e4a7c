package distill

import (
	"context"
	"fmt"
	"io"

	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// What of the student is trained, and how: its weights, the scales of its blocks, or weights behind their rounding.

// The values of Settings.Tune.
const (
	tuneWeights = "weights"
	tuneScales  = "scales"
)

// trainer is what makes the steps: a train.Trainer, or a train.Tuner for weights that have a format.
type trainer interface {
	Steps() int
	Step(ctx context.Context, batches []*train.Batch) (*train.Metrics, error)
	Evaluate(ctx context.Context, batches []*train.Batch) (*train.Metrics, error)
	Tensors() (map[*model.Weight]*tensor.Tensor, error)
	Save(w io.Writer) error
	Load(r io.Reader) error
}

// newTrainer prepares what the settings ask for.
func (r *run) newTrainer(losses []train.Loss) (trainer, error) {
	s, err := r.s.training(r.student.Graph)
	if err != nil {
		return nil, err
	}
	var latents map[*model.Weight]train.Latent
	switch scales := r.s.Tune == tuneScales; {
	case scales && len(r.o.Formats) > 0:
		return nil, fmt.Errorf("tune: %s changes a student that is quantized already, training with rounding one that is not: choose one", tuneScales)
	case scales:
		if latents, err = scaleLatents(r.student); err != nil {
			return nil, err
		}
		chosen := s.Train
		s.Train = func(name string) bool { return chosen(name) && latents[r.student.Graph.Weight(name)] != nil }
	case len(r.o.Formats) > 0:
		if latents, err = roundedLatents(r.student, r.o.Formats); err != nil {
			return nil, err
		}
	default:
		return train.New(r.student, losses, s)
	}
	return train.NewTuner(r.student, losses, s, latents)
}

// chosen applies Targets and Ignore. A pattern that matches nothing is an error.
func (s *Settings) chosen(g *model.Graph) (map[string]bool, error) {
	out := map[string]bool{}
	for _, w := range g.Weights {
		out[w.Name] = len(s.Targets) == 0
	}
	apply := func(what string, patterns []string, to bool) error {
		for _, p := range patterns {
			match, err := strict.Pattern(p)
			if err != nil {
				return fmt.Errorf("%s %w", what, err)
			}
			found := false
			for name := range out {
				if match(name) {
					out[name], found = to, true
				}
			}
			if !found {
				return fmt.Errorf("%s %q matches no weight of the student; names are like embed, layers.0.attn.q, layers.0.mlp.norm, head", what, p)
			}
		}
		return nil
	}
	if err := apply("targets", s.Targets, true); err != nil {
		return nil, err
	}
	return out, apply("ignore", s.Ignore, false)
}

// rank returns the rank, or what stands where none is given.
func (l *LoRA) rank() int {
	if l.Rank == 0 {
		return 8
	}
	return l.Rank
}
