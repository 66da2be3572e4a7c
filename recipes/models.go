package recipes

import (
	"context"
	"fmt"
	"time"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/internal/measure"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/quantize"
)

// What the kinds of stages share: opening models that are there or only planned, reading calibration text, writing
// checkpoints, and guessing what work costs.

// open returns a model that a stage reads: the files, or the outline that the plan of its own stage drew.
func (m *Model) open() (*model.Model, error) {
	if m.Path == "" {
		if o, ok := m.Forecast.(*model.Model); ok {
			return o, nil
		}
		return nil, fmt.Errorf("stage %s does not make a model", m.Name)
	}
	return model.Open(m.Path)
}

// ggufFile is the name of a model's file where its artifact is a GGUF file.
const ggufFile = "model.gguf"

// save writes a model as the artifact: as one GGUF file where its format asks for that, else as a Hugging Face directory.
func (j *Job) save(ctx context.Context, m *model.Model, gguf bool, mix string) error {
	if !gguf {
		return m.SaveHF(ctx, j)
	}
	for _, note := range llamaNotes(m, gguf) {
		j.Note(note)
	}
	f, err := j.Create(ggufFile)
	if err != nil {
		return err
	}
	if err := m.SaveGGUF(ctx, f, model.GGUFOptions{Name: j.Name, Mix: mix}); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// llamaNotes says what llama.cpp computes otherwise from the file that save writes.
func llamaNotes(m *model.Model, gguf bool) []string {
	if !gguf {
		return nil
	}
	return m.LlamaCPP()
}

// size returns the bytes that save will write.
func size(ctx context.Context, m *model.Model, name string, gguf bool, mix string) (int64, error) {
	if gguf {
		return m.SizeGGUF(ctx, model.GGUFOptions{Name: name, Mix: mix})
	}
	return m.SizeHF(ctx)
}

// facts leaves what a stage found out beside its artifact.
func (j *Job) facts(f report.Facts) error { return j.WriteJSON(report.FactsFile, f, true) }

// describe is what every model's own stage knows of it.
func describe(name, format string, m *model.Model) report.Model {
	r := measure.Describe(name, m)
	r.Format = format
	return r
}

// formatOf returns the format of most of a model's weights, as users name it.
func formatOf(m *model.Model) string {
	name, _ := m.Format()
	return quantize.DisplayName(name)
}

// Calibration says which text a stage looks at.
type Calibration struct {
	// Calib is the calibration text; without it the recipe's data.calib.
	Calib []string `yaml:"calib" data:"calib"`
	// GenerateCalibration has the model write the calibration text itself, in place of calib: num_calibration_samples texts drawn at
	// temperature 1, by the recipe's seed.
	GenerateCalibration bool `yaml:"generate_calibration"`
	// NumCalibrationSamples is how many stretches of the text are used, spread evenly over it.
	NumCalibrationSamples int `yaml:"num_calibration_samples" min:"1" max:"65536"`
	// MaxSeqLength is the length of each in tokens; 0 means the model's context, at most 512.
	MaxSeqLength int `yaml:"max_seq_length" min:"0"`
}

// defaultCalibration is what peers use: 128 samples.
var defaultCalibration = Calibration{NumCalibrationSamples: 128}

func (c *Calibration) length(m *model.Model) int {
	if c.MaxSeqLength > 0 {
		return min(c.MaxSeqLength, m.Config.MaxContext())
	}
	return min(512, m.Config.MaxContext())
}

// samples reads the calibration text as token ids.
func (c *Calibration) samples(ctx context.Context, m *model.Model, seed uint64) ([][]int32, error) {
	if c.GenerateCalibration {
		return calib.Generate(ctx, m, c.NumCalibrationSamples, c.length(m), seed)
	}
	if len(c.Calib) == 0 {
		return nil, fmt.Errorf("no calibration text: give data.calib in the recipe, or calib here")
	}
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	return corpus.Calibration(ctx, tok, c.Calib, c.NumCalibrationSamples, c.length(m), seed)
}

// tokens bounds the calibration tokens of a plan.
func (c *Calibration) tokens(m *model.Model) int64 {
	return int64(c.NumCalibrationSamples) * int64(c.length(m))
}

// streams returns the memory of the residual streams and of one layer's activations while samples go through a model.
func (c *Calibration) streams(m *model.Model) int64 {
	widest := 0
	for i := range m.Config.Layers {
		widest = max(widest, m.Config.Layers[i].FFN)
	}
	return 4 * (2*c.tokens(m)*int64(m.Config.Hidden) + int64(c.length(m))*int64(4*m.Config.Hidden+3*widest))
}

// largestLayer returns the stored bytes of the largest layer, and of what lies outside the layers.
func largestLayer(m *model.Model) (layer, outside int64) {
	sums := map[int]int64{}
	for _, g := range m.Graph.Nodes {
		for _, w := range g.Weights {
			if w != nil {
				sums[g.Layer] += m.Tensor(w).Bytes()
			}
		}
	}
	for i, n := range sums {
		if i >= 0 {
			layer = max(layer, n)
		}
	}
	return layer, sums[-1]
}

// overhead is the memory of the program itself.
const overhead = 64 << 20

// rate is the machine's speed in multiply-adds a second, measured once on a small matrix product.
var rate float64

// seconds guesses how long so many multiply-adds of matrix products take, from a measurement of a few milliseconds.
func seconds(work float64) float64 {
	if rate == 0 {
		const n = 256
		a, b, c := make([]float32, n*n), make([]float32, n*n), make([]float32, n*n)
		// The fastest of many products: the machine may have been busy during any one of them.
		for begin := time.Now(); rate == 0 || time.Since(begin) < 30*time.Millisecond; {
			start := time.Now()
			simd.Gemm(c, n, a, n, false, b, n, true, n, n, n, false)
			rate = max(rate, n*n*n/max(time.Since(start), time.Microsecond).Seconds())
		}
	}
	return work / (0.5 * rate) // what is not matrix products takes about as long again
}

// forward is the multiply-adds of a token's way through a model.
func forward(m *model.Model) float64 {
	var n float64
	for _, w := range m.Graph.Weights {
		if w.Role == model.RoleMatrix || w.Role == model.RoleEmbed && m.Config.Tied {
			n += float64(w.Len())
		}
	}
	return n
}
