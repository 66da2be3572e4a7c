package runtime

import (
	"fmt"
	"math"

	"github.com/parelm/pare/internal/rng"
)

// Sampling says how the next token is drawn. The zero value is greedy.
//
// The settings apply in this order: penalties, bias, constraint, top-k, typical, top-p, min-p, temperature. The filters
// look at the distribution at temperature 1; the temperature then shapes what is left, as llama.cpp does by default.
type Sampling struct {
	Temperature float64 // 0 takes the likeliest token, ties to the lower id
	TopK        int     // keep the k likeliest; 0 keeps all
	Typical     float64 // keep those of typical surprise that together reach this probability (Meister et al. 2022); 0 or 1 keeps all
	TopP        float64 // keep the likeliest that together reach this probability (Holtzman et al. 2020); 0 or 1 keeps all
	MinP        float64 // drop what is less likely than MinP times the likeliest (Nguyen et al. 2024)
	Seed        uint64  // the same seed and logits give the same tokens

	Repetition float64 // divide the logits of tokens in prompt and text by this, multiply negative ones (Keskar et al. 2019); 0 or 1 is none
	Presence   float64 // subtract this from the logit of every token of the text so far
	Frequency  float64 // subtract this times how often it stands in the text so far
	LastN      int     // how many last tokens the penalties look at; 0 is all
	Bias       map[int32]float64
}

// Check returns an error for settings that mean nothing.
func (s *Sampling) Check() error {
	for _, r := range []struct {
		name      string
		v, lo, hi float64
	}{
		{"temperature", s.Temperature, 0, 100}, {"top-k", float64(s.TopK), 0, math.MaxInt32}, {"typical", s.Typical, 0, 1}, {"top-p", s.TopP, 0, 1},
		{"min-p", s.MinP, 0, 1}, {"repetition penalty", s.Repetition, 0, 100}, {"presence penalty", s.Presence, -100, 100},
		{"frequency penalty", s.Frequency, -100, 100}, {"penalty window", float64(s.LastN), 0, math.MaxInt32},
	} {
		if !(r.v >= r.lo && r.v <= r.hi) { // NaN too
			return fmt.Errorf("%s %v: want %v to %v", r.name, r.v, r.lo, r.hi)
		}
	}
	for id, b := range s.Bias {
		if !(math.Abs(b) <= 1000) {
			return fmt.Errorf("bias %v of token %d: want -1000 to 1000", b, id)
		}
	}
	return nil
}

// Pick draws the token that follows position pos, without penalties, which need the text.
func (s *Sampling) Pick(logits []float32, pos int) int32 {
	if s.Temperature <= 0 {
		return argmax(logits)
	}
	var w sampleScratch
	return draw(w.distribution(s, logits, nil), rng.New(s.Seed, uint64(pos)))
}

// argmax returns the place of the largest logit, the first of equals.
func argmax(logits []float32) int32 {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return int32(best)
}
