package distill

import (
	"context"
	"fmt"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/runtime"
)

// On-policy distillation (Agarwal et al. 2023, GKD, arXiv:2306.13649): a share of the sequences are not the text's but the student's
// own, drawn from it as it is now behind a prompt out of the text, and the teacher says of every position how it would have gone on.
// So the student learns where it goes wrong by itself, which it never meets in a text. GKD's loss is the generalized Jensen-Shannon
// divergence (jsd); every loss between probabilities works. No gradient passes through the drawing.
//
// What is drawn depends on the weights, the seed and the number of the sequence, so a run that was killed goes on to the same bits.

// OnPolicy says how much the student learns from what it writes itself.
type OnPolicy struct {
	// Share is the part of the sequences that the student writes, GKD's lambda.
	Share float64 `yaml:"share" above:"0" max:"1"`
	// Prompt is how many tokens of the text stand in front; 0 means a quarter of the sequence.
	Prompt int `yaml:"prompt" min:"0"`
	// Temperature is that of the drawing; 0 means 1.
	Temperature float64 `yaml:"temperature" min:"0"`
}

// checkOnPolicy returns an error where on-policy learning cannot be.
func (s *Settings) checkOnPolicy(teacher bool, length int) error {
	o := s.OnPolicy
	if o == nil {
		return nil
	}
	if !teacher {
		return fmt.Errorf("on_policy: what the student writes needs a teacher to judge it")
	}
	if l := s.Losses["ce"]; l != nil && l.term().Weight > 0 {
		return fmt.Errorf("on_policy: loss ce would teach the student to write what it writes; leave it out")
	}
	if o.Share <= 0 {
		return fmt.Errorf("on_policy: share is %g, must be above 0", o.Share)
	}
	if o.Prompt >= length {
		return fmt.Errorf("on_policy: a prompt of %d tokens leaves nothing of a sequence of %d", o.Prompt, length)
	}
	return nil
}

// ownWords replaces sequences by what the student writes. first is the number of the batches' first sequence.
func (r *run) ownWords(ctx context.Context, batches []*train.Batch, first int) error {
	o := r.s.OnPolicy
	if o == nil {
		return nil
	}
	var own []*draft
	for i, b := range batches {
		for row := range b.Rows {
			n := uint64(first + i*b.Rows + row)
			if rng.New(r.s.Seed, rng.Hash("on policy"), n).Float64() < o.Share {
				own = append(own, &draft{b: b, row: row, how: runtime.Sampling{Temperature: o.temperature(), Seed: rng.New(r.s.Seed, rng.Hash("own words"), n).Uint64()}})
			}
		}
	}
	if len(own) == 0 {
		return nil
	}
	tensors, err := r.t.Tensors()
	if err != nil {
		return err
	}
	e, err := runtime.Load(ctx, r.student.With(tensors), runtime.Options{})
	if err != nil {
		return err
	}
	prompt := o.Prompt
	if prompt == 0 {
		prompt = max(1, batches[0].Length/4)
	}
	return drafts(ctx, e, own, prompt)
}

func (o *OnPolicy) temperature() float64 {
	if o.Temperature == 0 {
		return 1
	}
	return o.Temperature
}

// draft is a sequence while the student writes it.
type draft struct {
	b    *train.Batch
	row  int
	how  runtime.Sampling
	work runtime.Work
}

// drafts writes all sequences at once, token by token.
func drafts(ctx context.Context, e *runtime.Engine, own []*draft, prompt int) error {
	works := make([]*runtime.Work, len(own))
	for i, d := range own {
		at := d.row * d.b.Length
		d.work = runtime.Work{Session: e.NewSession(), IDs: d.b.IDs[at : at+prompt]}
		works[i] = &d.work
	}
	for pos := prompt; ; pos++ {
		if err := e.StepBatch(ctx, works); err != nil {
			return fmt.Errorf("on_policy: %w", err)
		}
		for _, d := range own {
			id := d.how.Pick(d.work.Logits[0], pos)
			at := d.row*d.b.Length + pos
			d.b.Labels[at-1] = id
			if pos < d.b.Length {
				d.b.IDs[at] = id
				d.work.IDs, d.work.Logits = d.b.IDs[at:at+1], nil
			}
		}
		if pos == own[0].b.Length {
			return nil
		}
	}
}
