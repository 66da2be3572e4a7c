package model

import (
	"fmt"
	"math"
)

// Rope is a rotary position embedding (Su et al. 2021): the first Dim values of each head are rotated in pairs by the
// angle position * frequency. Pairs are (i, i+Dim/2), or (2i, 2i+1) when Interleaved.
type Rope struct {
	Dim         int     // rotated values of a head, even
	Theta       float64 // frequency base
	Interleaved bool
	Scaling     RopeScaling
	Grow        float64 // what is rotated is multiplied by 1 + Grow ln(1 + floor(position / Scaling.Original)): queries of Llama 4
}

// Grown returns what the value of a position is multiplied by beside being rotated.
func (r *Rope) Grown(position int) float64 {
	if r.Grow == 0 {
		return 1
	}
	return 1 + r.Grow*math.Log(1+float64(position/r.Scaling.Original))
}

// RopeScaling stretches the frequencies to a longer context. Kind is "", "linear", "dynamic", "yarn", "llama3", "longrope"
// or "factors" (GGUF keeps llama3 as a table).
type RopeScaling struct {
	Kind       string
	Factor     float64
	Original   int     // context before stretching
	Attention  float64 // yarn, longrope: multiplies cos and sin; 0 means by formula
	Low, High  float64 // llama3: wavelength borders as fractions of Original
	Fast, Slow float64 // yarn: rotations at the borders of the ramp
	NoTruncate bool    // yarn: do not round the borders
	Short      []float64
	Long       []float64 // longrope: divisors of the frequencies up to and beyond Original; factors: Short alone
}

func (r *Rope) check(head int) error {
	s := &r.Scaling
	switch {
	case r.Dim < 2 || r.Dim%2 != 0 || r.Dim > head:
		return fmt.Errorf("rotary dimension is %d, must be even and at most the head dimension %d", r.Dim, head)
	case !(r.Theta > 0) || math.IsInf(r.Theta, 0):
		return fmt.Errorf("rope theta is %g, must be positive", r.Theta)
	case s.Kind != "" && s.Kind != "longrope" && s.Kind != "factors" && !(s.Factor >= 1 && s.Factor <= 1e6):
		return fmt.Errorf("rope scaling %q: factor is %g, must be 1 or more", s.Kind, s.Factor)
	case s.Kind == "longrope" && (len(s.Short) != r.Dim/2 || len(s.Long) != r.Dim/2):
		return fmt.Errorf("longrope has %d short and %d long factors, needs %d", len(s.Short), len(s.Long), r.Dim/2)
	case s.Kind == "factors" && len(s.Short) != r.Dim/2:
		return fmt.Errorf("%d rope factors, needs %d", len(s.Short), r.Dim/2)
	case (s.Kind == "llama3" || s.Kind == "yarn" || s.Kind == "longrope" || s.Kind == "dynamic") && s.Original < 1:
		return fmt.Errorf("rope scaling %q needs the original context length", s.Kind)
	case s.Kind == "llama3" && !(s.High > s.Low && s.Low > 0):
		return fmt.Errorf("rope scaling llama3: low_freq_factor %g must be above 0 and below high_freq_factor %g", s.Low, s.High)
	}
	return nil
}

// LengthDependent reports whether the frequencies change with the sequence length: from which length on, or 0.
// Keys that were rotated before the change are stale after it.
func (r *Rope) LengthDependent() int {
	if r.Scaling.Kind == "dynamic" || r.Scaling.Kind == "longrope" {
		return r.Scaling.Original
	}
	return 0
}

// Frequencies returns the Dim/2 angles per position for a sequence of n tokens, and the factor on cos and sin.
func (r *Rope) Frequencies(n int) (freq []float64, magnitude float64) {
	s := &r.Scaling
	theta, d := r.Theta, float64(r.Dim)
	if s.Kind == "dynamic" && n > s.Original { // NTK-aware: stretch the base (transformers, _compute_dynamic_ntk_parameters)
		theta *= math.Pow(s.Factor*float64(n)/float64(s.Original)-(s.Factor-1), d/(d-2))
	}
	freq = make([]float64, r.Dim/2)
	for i := range freq {
		// Checkpoints were trained with float32 tables: the exponent and the power are rounded as torch rounds them.
		freq[i] = float64(float32(1 / math.Pow(theta, float64(float32(2*i)/float32(r.Dim)))))
	}
	magnitude = 1
	switch s.Kind {
	case "linear":
		for i := range freq {
			freq[i] /= s.Factor
		}
	case "llama3":
		s.llama3(freq)
	case "yarn":
		magnitude = s.yarn(freq, theta)
	case "factors":
		for i := range freq {
			freq[i] /= s.Short[i]
		}
	case "longrope":
		f := s.Short
		if n > s.Original {
			f = s.Long
		}
		for i := range freq {
			freq[i] /= f[i]
		}
		magnitude = s.Attention
	}
	if magnitude == 0 {
		magnitude = 1
	}
	return freq, magnitude
}

// llama3 divides low frequencies by the factor, keeps high ones and blends between (Llama 3.1).
func (s *RopeScaling) llama3(freq []float64) {
	orig := float64(s.Original)
	for i, f := range freq {
		wave := 2 * math.Pi / f
		switch {
		case wave < orig/s.High:
		case wave > orig/s.Low:
			freq[i] = f / s.Factor
		default:
			smooth := (orig/wave - s.Low) / (s.High - s.Low)
			freq[i] = (1-smooth)*f/s.Factor + smooth*f
		}
	}
}

// yarn blends interpolated and original frequencies along a ramp (Peng et al. 2023, eq. 19-23) and returns the attention
// factor 0.1 ln(factor) + 1.
func (s *RopeScaling) yarn(freq []float64, theta float64) float64 {
	d := float64(2 * len(freq))
	border := func(rotations float64) float64 {
		return d * math.Log(float64(s.Original)/(rotations*2*math.Pi)) / (2 * math.Log(theta))
	}
	low, high := border(s.Fast), border(s.Slow)
	if !s.NoTruncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, d-1)
	if low == high {
		high += 0.001
	}
	for i, f := range freq {
		ramp := min(max((float64(i)-low)/(high-low), 0), 1)
		freq[i] = f/s.Factor*ramp + f*(1-ramp)
	}
	if s.Attention != 0 {
		return s.Attention
	}
	return yarnMagnitude(s.Factor, 1)
}

func sqrt(x float64) float64 { return math.Sqrt(x) }

func ln(x float64) float64 { return math.Log(x) }
