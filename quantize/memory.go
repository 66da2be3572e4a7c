package quantize

import (
	"fmt"
	"runtime/debug"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/model"
)

// What quantizing keeps in memory: the residual streams of the calibration text, and one layer at a time. While statistics
// are gathered that is the layer's weights as float32 and a second moment for each of its inputs; while a matrix is worked,
// the second moments of the inputs that are still to come, the matrix, and what passes errors on. Finished matrices go to the
// journal, where there is one. Nothing depends on the number of layers.

// Memory is how much quantizing takes at most, in bytes.
type Memory struct {
	Bytes   int64
	Streams int64  // of that, the calibration text on its way through the layers: proportional to its tokens
	Where   string // the matrix or layer that needs most
}

const (
	programBytes = 96 << 20 // the program, and buffers of fixed size
	collected    = 1.1      // garbage that is not collected yet, as a factor
)

// PeakMemory estimates the memory for quantizing m by a plan, on so many tokens in samples of a length; kept says that
// finished matrices stay in memory, having no journal.
func (s *Settings) PeakMemory(m *model.Model, plan []Choice, a Algorithm, tokens, length int64, kept bool) Memory {
	var most int64
	x := Memory{}
	at := func(n int64, where string) {
		if n > most {
			most, x.Where = n, where
		}
	}
	needs := a.Needs()
	hidden := int64(m.Config.Hidden)
	if needs != nil || s.Budgeted() {
		x.Streams = 4 * tokens * hidden
	}
	todo := map[*model.Weight]bool{}
	for _, c := range plan {
		if c.Codec != nil {
			todo[c.Weight] = true
			at(s.matrix(m, c.Weight, nil), c.Weight.Name)
		}
	}
	for i := 0; needs != nil && i <= m.Graph.Layers; i++ {
		var widths []int64 // of the layer's inputs
		var weights, widest int64
		groups := map[*model.Node][]*model.Weight{}
		var order []*model.Node
		for _, g := range m.Graph.Groups() {
			for _, n := range g.Linears {
				if calib.Segment(m.Graph, n) != i {
					continue
				}
				if groups[g.Input] == nil {
					order, widths = append(order, g.Input), append(widths, int64(g.Input.Out.Size()))
				}
				for _, w := range n.Weights {
					if w != nil && w.Role == model.RoleMatrix {
						groups[g.Input] = append(groups[g.Input], w)
						weights += 4 * int64(w.Len())
						widest = max(widest, int64(w.Len())/widths[len(widths)-1])
					}
				}
			}
		}
		name := fmt.Sprintf("the statistics of layer %d", i)
		if i == m.Graph.Layers {
			name = "the statistics of the head"
		}
		at(weights+moments(widths, needs)+waiting(widths, needs)+4*length*(6*hidden+3*widest), name)
		for k, in := range order {
			for _, w := range groups[in] {
				if todo[w] {
					at(moments(widths[k:], needs)+s.matrix(m, w, needs), w.Name)
				}
			}
		}
	}
	if s.Budgeted() { // the model, its probes, and log probabilities
		at(3*m.Bytes()+4*min(judgeValues, judgeTokens*int64(m.Config.Vocab)), "the search for formats")
	}
	if kept {
		most += Bytes(m, plan)
	}
	x.Bytes = int64(collected*float64(most+x.Streams)) + programBytes
	return x
}

// moments returns the bytes of second moments of inputs of those widths.
func moments(widths []int64, needs *calib.Needs) int64 {
	var n int64
	for _, w := range widths {
		if needs.Hessian {
			n += 8 * w * w
		}
	}
	return n
}

// waiting returns the bytes of rows on their way into those.
func waiting(widths []int64, needs *calib.Needs) int64 {
	var n int64
	for _, w := range widths {
		if needs.Hessian {
			n += 4 * w * calib.ProductRows
		}
	}
	return n
}

// matrix returns the bytes for working one matrix, but for the second moment of its inputs.
func (s *Settings) matrix(m *model.Model, w *model.Weight, needs *calib.Needs) int64 {
	values, cols := int64(w.Len()), int64(w.Shape()[len(w.Dims)-1])
	n := 7*values + 4*4*measuredRows*cols + m.Tensor(w).Bytes()/8 // the values, its codes, and rows that errors are measured on
	if needs != nil && needs.Hessian {
		n += 4*cols*cols + 2*cols*cols                   // in float32, and half of a factor
		n += 30 * gptqRows * cols * int64(par.Threads()) // what each thread has of the rows at hand: errors, values, gradients, cells
		if s.LowRank > 0 {
			n += 12 * values
		}
	}
	return n
}

// limitMemory refuses what does not fit max_ram, and has the collector of garbage keep to it until the function that it
// returns is called.
func (s *Settings) limitMemory(m *model.Model, plan []Choice, a Algorithm, o Options) (release func(), err error) {
	if s.MaxRAM == "" {
		return func() {}, nil
	}
	var tokens, longest int64
	for _, ids := range o.Samples {
		tokens, longest = tokens+int64(len(ids)), max(longest, int64(len(ids)))
	}
	x := s.PeakMemory(m, plan, a, tokens, longest, o.Journal == nil && !o.Stream)
	limit, err := s.CheckMemory(x)
	if err != nil {
		return nil, err
	}
	// No garbage beyond what was counted on, however much would be allowed: whoever bounds memory has a use for the rest.
	old := debug.SetMemoryLimit(min(limit, x.Bytes) - programBytes/2)
	return func() { debug.SetMemoryLimit(old) }, nil
}

// CheckMemory returns max_ram in bytes, or an error where that is too little.
func (s *Settings) CheckMemory(x Memory) (int64, error) {
	limit, err := ParseSize("max_ram", s.MaxRAM)
	if err != nil || x.Bytes <= limit {
		return limit, err
	}
	least := x.Bytes - int64(collected*float64(x.Streams))
	if least > limit || x.Streams == 0 {
		return 0, fmt.Errorf("max_ram is %s: quantizing takes at least %d MB, most of it for %s", s.MaxRAM, least>>20+1, x.Where)
	}
	return 0, fmt.Errorf("max_ram is %s: quantizing takes %d MB, of which %d MB are calibration text on its way through the layers: %.0f %% of num_calibration_samples would fit",
		s.MaxRAM, x.Bytes>>20+1, x.Streams>>20+1, 100*float64(limit-least)/(collected*float64(x.Streams)))
}
