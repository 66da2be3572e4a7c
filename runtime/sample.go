package runtime

import (
	"math"
	"slices"

	"github.com/parelm/pare/internal/rng"
)

// Sampling says how the next token is drawn. The zero value is greedy.
type Sampling struct {
	Temperature float64 // 0 takes the likeliest token, ties to the lower id
	TopK        int     // keep the k likeliest; 0 keeps all
	TopP        float64 // keep the likeliest that together reach this probability (Holtzman et al. 2020); 0 or 1 keeps all
	MinP        float64 // drop what is less likely than MinP times the likeliest (Nguyen et al. 2024)
	Seed        uint64  // the same seed and logits give the same tokens
}

// Pick draws the token that follows position pos. Filters apply in the order top-k, top-p, min-p to the distribution at
// temperature 1; the temperature then shapes what is left, as llama.cpp does by default.
func (s *Sampling) Pick(logits []float32, pos int) int32 {
	if s.Temperature <= 0 {
		return argmax(logits)
	}
	type candidate struct {
		id    int32
		logit float64
		p     float64
	}
	c := make([]candidate, len(logits))
	for i, v := range logits {
		c[i] = candidate{id: int32(i), logit: float64(v)}
	}
	slices.SortFunc(c, func(a, b candidate) int {
		switch {
		case a.logit > b.logit:
			return -1
		case a.logit < b.logit:
			return 1
		}
		return int(a.id - b.id)
	})
	if s.TopK > 0 && s.TopK < len(c) {
		c = c[:s.TopK]
	}
	weigh := func(temperature float64) {
		var sum float64
		for i := range c {
			c[i].p = math.Exp((c[i].logit - c[0].logit) / temperature)
			sum += c[i].p
		}
		for i := range c {
			c[i].p /= sum
		}
	}
	weigh(1)
	if s.TopP > 0 && s.TopP < 1 {
		var sum float64
		for i := range c {
			if sum += c[i].p; sum >= s.TopP {
				c = c[:i+1]
				break
			}
		}
	}
	if s.MinP > 0 {
		for i := range c {
			if c[i].p < s.MinP*c[0].p {
				c = c[:i]
				break
			}
		}
	}
	weigh(s.Temperature)
	u := rng.New(s.Seed, uint64(pos)).Float64()
	for i := range c {
		if u -= c[i].p; u < 0 {
			return c[i].id
		}
	}
	return c[len(c)-1].id
}

func argmax(logits []float32) int32 {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return int32(best)
}
