package runtime

import (
	"cmp"
	"math"
	"slices"

	"github.com/parelm/pare/internal/rng"
)

// candidate is a token that may be drawn.
type candidate struct {
	id    int32
	logit float64
	p     float64
}

// likelier orders candidates, ties by id, so that the order never depends on how they were selected.
func likelier(a, b candidate) int {
	if a.logit != b.logit {
		return cmp.Compare(b.logit, a.logit)
	}
	return cmp.Compare(a.id, b.id)
}

// sampleScratch is the memory of one sampler: a vocabulary of candidates is too much to allocate for each token.
type sampleScratch struct {
	c []candidate
}

// distribution returns what may be drawn, with probabilities that sum to 1. mask has a bit for every id that may come;
// nil allows all. Nothing is returned where the mask allows nothing.
func (w *sampleScratch) distribution(s *Sampling, logits []float32, mask []uint64) []candidate {
	best := float32(math.Inf(-1))
	for i, v := range logits {
		if v > best && allowed(mask, i) {
			best = v
		}
	}
	// What min-p drops without regard to the other filters need not be looked at; -Inf is never drawn.
	floor := math.Inf(-1)
	if s.MinP > 0 && s.Typical == 0 && s.TopP == 0 {
		floor = float64(best) + math.Log(s.MinP) - 1e-9
	}
	c := w.c[:0]
	for i, v := range logits {
		if l := float64(v); l > math.Inf(-1) && l >= floor && allowed(mask, i) {
			c = append(c, candidate{id: int32(i), logit: l})
		}
	}
	w.c = c
	if len(c) == 0 {
		return nil
	}
	if s.TopK > 0 && s.TopK < len(c) {
		c = largest(c, s.TopK)
	}
	if s.Typical > 0 && s.Typical < 1 {
		c = typical(c, s.Typical)
	}
	if s.TopP > 0 && s.TopP < 1 {
		c = nucleus(c, s.TopP)
	}
	if s.MinP > 0 {
		low := slices.MinFunc(c, likelier).logit + math.Log(s.MinP)
		c = slices.DeleteFunc(c, func(x candidate) bool { return x.logit < low })
	}
	weigh(c, s.Temperature)
	return c
}

func allowed(mask []uint64, i int) bool {
	return mask == nil || i>>6 < len(mask) && mask[i>>6]>>(i&63)&1 != 0
}

// weigh sets the probabilities at a temperature.
func weigh(c []candidate, temperature float64) {
	best := math.Inf(-1)
	for i := range c {
		best = max(best, c[i].logit)
	}
	var sum float64
	for i := range c {
		c[i].p = math.Exp((c[i].logit - best) / temperature)
		sum += c[i].p
	}
	for i := range c {
		c[i].p /= sum
	}
}

// largest returns the k likeliest, sorted: a heap of k whose root is the least of them.
func largest(c []candidate, k int) []candidate {
	h := c[:k]
	for i := k/2 - 1; i >= 0; i-- {
		sift(h, i, func(a, b candidate) bool { return likelier(a, b) > 0 })
	}
	for i := k; i < len(c); i++ {
		if likelier(c[i], h[0]) < 0 {
			h[0] = c[i]
			sift(h, 0, func(a, b candidate) bool { return likelier(a, b) > 0 })
		}
	}
	slices.SortFunc(h, likelier)
	return h
}

// sift moves h[i] down until before holds between every parent and child below it.
func sift(h []candidate, i int, before func(a, b candidate) bool) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && before(h[child+1], h[child]) {
			child++
		}
		if !before(h[child], h[i]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// nucleus returns the likeliest that together reach p. Few of a large vocabulary do, so a heap gives them one by one.
func nucleus(c []candidate, p float64) []candidate {
	weigh(c, 1)
	first := func(a, b candidate) bool { return likelier(a, b) < 0 }
	for i := len(c)/2 - 1; i >= 0; i-- {
		sift(c, i, first)
	}
	var sum float64
	n := len(c)
	for n > 0 { // what is taken gathers at the end
		n--
		c[0], c[n] = c[n], c[0]
		if sum += c[n].p; sum >= p {
			break
		}
		sift(c[:n], 0, first)
	}
	out := c[n:]
	slices.Reverse(out)
	return out
}

// typical returns those whose surprise is nearest to the entropy, that together reach p.
func typical(c []candidate, p float64) []candidate {
	weigh(c, 1)
	var entropy float64
	for i := range c {
		if c[i].p > 0 {
			entropy -= c[i].p * math.Log(c[i].p)
		}
	}
	slices.SortFunc(c, func(a, b candidate) int {
		if d := cmp.Compare(math.Abs(-math.Log(a.p)-entropy), math.Abs(-math.Log(b.p)-entropy)); d != 0 {
			return d
		}
		return likelier(a, b)
	})
	var sum float64
	for i := range c {
		if sum += c[i].p; sum >= p {
			c = c[:i+1]
			break
		}
	}
	slices.SortFunc(c, likelier)
	return c
}

// draw takes one of the candidates by their probabilities.
func draw(c []candidate, r *rng.Source) int32 {
	u := r.Float64()
	for i := range c {
		if u -= c[i].p; u < 0 {
			return c[i].id
		}
	}
	return c[len(c)-1].id
}
