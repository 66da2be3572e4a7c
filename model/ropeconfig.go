package model

import "math"

// rope reads the rotary embedding of dim values per head from the usual keys: rope_theta and rope_scaling, or the
// rope_parameters that newer files write.
func (o *object) rope(c *Config, dim int) *Rope {
	r := &Rope{Dim: dim, Theta: o.real(c.Family.key("theta"))}
	s := o.sub("rope_scaling")
	if p := o.sub("rope_parameters"); p != nil {
		if full := p.sub("full_attention"); full != nil { // one object for each type of layers
			p = full
		} else if p.err != nil && o.err == nil {
			o.err = p.err
		}
		s = p
		if p.has("rope_theta") {
			r.Theta = p.real("rope_theta")
		}
	}
	if s == nil {
		return r
	}
	kind := s.text("rope_type")
	if kind == "" {
		kind = s.text("type")
	}
	if kind == "yarn" && s.has("short_factor") { // what the first Phi-3 files called it
		kind = "longrope"
	}
	sc := &r.Scaling
	sc.Factor = s.real("factor")
	sc.Original = s.num("original_max_position_embeddings")
	switch kind {
	case "", "default":
		kind, *sc = "", RopeScaling{}
	case "linear":
		sc.Original = 0
	case "dynamic":
		sc.Original = c.Context
	case "llama3":
		sc.Low, sc.High = s.real("low_freq_factor"), s.real("high_freq_factor")
	case "yarn":
		o.yarn(c, s, sc)
	case "longrope", "su":
		kind = "longrope"
		o.longrope(c, s, sc)
	case "factors":
		sc.Short = s.reals("short_factor")
	default:
		o.fail(ErrUnsupported, "rope_scaling", "type %q is not known", clip(kind))
	}
	sc.Kind = kind
	if s.err != nil && o.err == nil {
		o.err = s.err
	}
	return r
}

// yarn reads its borders. With the original context given, transformers computes the factor from the two contexts and
// ignores the one in the file.
func (o *object) yarn(c *Config, s *object, sc *RopeScaling) {
	sc.Fast, sc.Slow = 32, 1
	if s.has("beta_fast") {
		sc.Fast = s.real("beta_fast")
	}
	if s.has("beta_slow") {
		sc.Slow = s.real("beta_slow")
	}
	sc.Attention = s.real("attention_factor")
	if s.has("truncate") {
		sc.NoTruncate = !s.flag("truncate")
	}
	if sc.Original == 0 {
		sc.Original = c.Context
	} else {
		stated := sc.Factor
		sc.Factor = float64(c.Context) / float64(sc.Original)
		if stated != 0 && math.Abs(stated-sc.Factor) > 1e-3*stated {
			o.warn("%s: yarn stretches %d positions to %d, by %.4g; the factor %.4g in rope_scaling is passed over, as transformers 4 does: set max_position_embeddings to %d for it",
				o.file, sc.Original, c.Context, sc.Factor, stated, int(stated*float64(sc.Original)))
		}
	}
	if m, all := s.real("mscale"), s.real("mscale_all_dim"); m != 0 && all != 0 && sc.Attention == 0 {
		sc.Attention = yarnMagnitude(sc.Factor, m) / yarnMagnitude(sc.Factor, all)
	}
}

func yarnMagnitude(factor, m float64) float64 {
	if factor <= 1 {
		return 1
	}
	return 0.1*m*ln(factor) + 1
}

// longrope reads the two tables. The original context is a key of the whole file, in newer ones of rope_parameters; both tables scale cos and sin by
// sqrt(1 + ln(context/original)/ln(original)).
func (o *object) longrope(c *Config, s *object, sc *RopeScaling) {
	sc.Short, sc.Long = s.reals("short_factor"), s.reals("long_factor")
	if _, own := o.vals["original_max_position_embeddings"]; own || sc.Original == 0 && o.has("original_max_position_embeddings") {
		sc.Original, sc.Factor = o.num("original_max_position_embeddings"), 0
	} else if sc.Original == 0 {
		sc.Original = c.Context
	}
	if sc.Factor == 0 {
		sc.Factor = float64(c.Context) / float64(max(sc.Original, 1))
	}
	sc.Attention = s.real("attention_factor")
	if sc.Attention == 0 {
		sc.Attention = 1
		if sc.Factor > 1 && sc.Original > 1 {
			sc.Attention = sqrt(1 + ln(sc.Factor)/ln(float64(sc.Original)))
		}
	}
}
