package quantize

import (
	"fmt"
	"sort"
	"strings"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
)

// A mix says which format each matrix of a model gets. The names and rules of GGUF mixes are llama.cpp's, so that a
// Q4_K_M file is what users know by that name: more bits for the value and down projections of some layers and for the
// output matrix. The schemes of safetensors checkpoints are llm-compressor's.
type mix struct {
	base string
	// Formats of single kinds of matrices by layer i of n; "" keeps base.
	v, o, down func(i, n, gqa int) string
	// linear says that only linear layers are quantized: embedding and head keep their format (safetensors schemes).
	linear bool
	group  int // default group size of linear schemes; 0 means a whole row
	// activations says that programs that load the scheme round activations too, to eight bits with a scale for each token.
	activations bool
}

func always(f string) func(i, n, gqa int) string { return func(int, int, int) string { return f } }

// more gives f to the first and last eighth of the layers and to every third between.
func more(f string) func(i, n, gqa int) string {
	return func(i, n, _ int) string {
		if i < n/8 || i >= 7*n/8 || (i-n/8)%3 == 2 {
			return f
		}
		return ""
	}
}

// first gives f to the first k layers, or the first 1/part of them, and rest to the others.
func first(k, part int, f, rest string) func(i, n, gqa int) string {
	return func(i, n, _ int) string {
		if i < k || part > 0 && i < n/part {
			return f
		}
		return rest
	}
}

// grouped gives f where at least four query heads share a key/value head, whose matrix is then small.
func grouped(f, rest string) func(i, n, gqa int) string {
	return func(_, _, gqa int) string {
		if gqa >= 4 {
			return f
		}
		return rest
	}
}

var mixes = map[string]mix{
	"f16": {base: "f16"}, "bf16": {base: "bf16"}, "f32": {base: "f32"},
	"q8_0": {base: "q8_0"}, "q4_0": {base: "q4_0"}, "q4_1": {base: "q4_1"}, "q5_0": {base: "q5_0"}, "q5_1": {base: "q5_1"},
	"q6_k": {base: "q6_k"}, "mxfp4": {base: "mxfp4"},
	"q2_k":   {base: "q2_k", v: grouped("q4_k", "q3_k"), o: always("q3_k"), down: always("q3_k")},
	"q3_k_s": {base: "q3_k"},
	"q3_k_m": {base: "q3_k", v: first(2, 0, "q5_k", "q4_k"), o: always("q4_k"), down: first(0, 16, "q5_k", "q4_k")},
	"q3_k_l": {base: "q3_k", v: always("q5_k"), o: always("q5_k"), down: always("q5_k")},
	"q4_k_s": {base: "q4_k", v: first(4, 0, "q5_k", ""), down: first(0, 8, "q5_k", "")},
	"q4_k_m": {base: "q4_k", v: more("q6_k"), down: more("q6_k")},
	"q5_k_s": {base: "q5_k"},
	"q5_k_m": {base: "q5_k", v: more("q6_k"), down: more("q6_k")},
	"iq4_nl": {base: "iq4_nl", v: grouped("q5_k", ""), down: first(0, 8, "q5_k", "")},
	"iq4_xs": {base: "iq4_xs", v: grouped("q5_k", ""), down: first(0, 8, "q5_k", "")},
	// The bare block formats name mixes of nothing else but the output matrix.
	"q3_k": {base: "q3_k"}, "q4_k": {base: "q4_k"}, "q5_k": {base: "q5_k"},

	"w4a16":      {base: "int4", linear: true, group: 128},
	"w4a16_asym": {base: "uint4", linear: true, group: 128},
	"w8a16":      {base: "int8", linear: true},
	"w8a8":       {base: "int8", linear: true, activations: true},
	"fp8":        {base: "fp8", linear: true, activations: true},
}

// Formats returns the names that Settings.Format may have, sorted.
func Formats() []string {
	var names []string
	for n := range mixes {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Packed reports whether a format is written as a safetensors checkpoint rather than a GGUF file.
func Packed(format string) bool { return mixes[strings.ToLower(format)].linear }

// RoundsActivations reports whether programs that load a format round activations as well (W8A8, FP8).
func RoundsActivations(format string) bool { return mixes[strings.ToLower(format)].activations }

// Pack returns a quantized model marked for the layout that it is to be saved in.
func (s *Settings) Pack(m *model.Model) *model.Model {
	switch {
	case s.Layout == "gptq":
		return m.PackGPTQ()
	case RoundsActivations(s.Format):
		return m.RoundActivations()
	}
	return m
}

// lookupMix finds a mix by the name users type, in any case.
func lookupMix(name string) (mix, error) {
	m, ok := mixes[strings.ToLower(name)]
	if !ok {
		return m, fmt.Errorf("unknown format %q (known: %s)", name, strings.Join(Formats(), ", "))
	}
	return m, nil
}

// fallbacks are the formats with smaller blocks that take over where rows are no multiple of a block.
var fallbacks = map[string]string{"q2_k": "q4_0", "q3_k": "q4_0", "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0", "iq4_xs": "iq4_nl"}

// fit returns a format that rows of cols values can have, starting from the wanted one.
func fit(format string, cols int) (codec.Codec, error) {
	for {
		c, err := codec.Lookup(format)
		if err != nil {
			return nil, err
		}
		if _, err = codec.RowBytes(c, cols); err == nil {
			return c, nil
		}
		next, ok := fallbacks[format]
		if g, own := codec.GroupOf(c); own && g.Size > 32 {
			g.Size /= 2
			next, ok = g.Name(), true
		}
		if !ok {
			return codec.Lookup("f16")
		}
		format = next
	}
}

// DisplayName returns a format's name as it is usually written: Q4_K_M, W4A16, bf16.
func DisplayName(name string) string {
	lower := strings.ToLower(name)
	switch {
	case strings.HasPrefix(lower, "q"), strings.HasPrefix(lower, "iq"), strings.HasPrefix(lower, "w"), strings.HasPrefix(lower, "mx"), strings.HasPrefix(lower, "fp"):
		return strings.ToUpper(name)
	}
	return lower
}
