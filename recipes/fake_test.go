package recipes

import (
	"context"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/strict"
)

// The kinds below are small but honest: they read their inputs, write files that depend on everything that should
// matter, save checkpoints, use data and seeds.

//go:embed fake_test.go
var fakeSource embed.FS

func init() {
	src := []fs.FS{fakeSource}
	Register(Kind{Name: "craft", New: func() Stage { return &craft{Size: 1000} }, Sources: src, Starts: true})
	Register(Kind{Name: "shrink", New: func() Stage { return &shrink{Keep: 0.5, Algorithm: "plain", strong: strong{Strength: 2}} }, Sources: src})
	Register(Kind{Name: "measure", New: func() Stage { return &fakeMeter{} }, Sources: src, Measures: true})
}

// craft makes a model from nothing.
type craft struct {
	// Size is the model's size in bytes.
	Size int `min:"1" max:"100000"`
	// Config is a file that is copied in front.
	Config string `path:"file"`
	Broken string `oneof:"no panic error nan" yaml:"broken"` // how it goes wrong

	PlanTime   time.Duration // what it claims to take
	PlanMemory int64         `unit:"bytes"`
	PlanDisk   int64         `unit:"bytes"`
	PlanWarns  int           // how many warnings it has
}

func (c *craft) UsesSeed() bool { return true }

func (c *craft) Plan(_ context.Context, p *Planning) (Estimate, error) {
	if c.Size == 13 {
		return Estimate{}, strict.Bad("size", "13 brings bad luck")
	}
	out := int64(c.Size)
	if c.PlanDisk > 0 {
		out = c.PlanDisk
	}
	var warnings []string
	for i := range c.PlanWarns {
		warnings = append(warnings, fmt.Sprint("odd ", i))
	}
	return Estimate{OutputBytes: out, PeakMemory: c.PlanMemory, Seconds: c.PlanTime.Seconds(), Model: c.Size, Details: []string{fmt.Sprint(c.Size, " bytes")}, Warnings: warnings}, nil
}

func (c *craft) Run(_ context.Context, j *Job) error {
	switch c.Broken {
	case "panic":
		var s *shrink
		s.Keep = 1
	case "error":
		return errors.New("tensor \"layers.3.ffn\": NaN at 17")
	case "nan":
		return strict.Bad("size", "%d is too little after all", c.Size)
	}
	var data []byte
	if c.Config != "" {
		text, err := os.ReadFile(c.Config)
		if err != nil {
			return err
		}
		data = text
	}
	for i := len(data); i < c.Size; i++ {
		data = append(data, byte(uint64(i)*(j.Seed+3)))
	}
	if c.Size == 666 { // not reproducible, as a broken stage may be
		data = binary.LittleEndian.AppendUint64(data, uint64(time.Now().UnixNano()))
	}
	return j.WriteFile("model.bin", data)
}

// shrink keeps a part of a model, in steps that it can resume.
type shrink struct {
	// Keep is the share of bytes that stays.
	Keep float64 `above:"0" max:"1"`
	// Algorithm decides how.
	Algorithm string   `oneof:"plain strong"`
	Calib     []string `data:"calib"`
	Teacher   string   `ref:"model"` // a second model that is mixed in
	// Steps is how many pieces the work has.
	Steps int `max:"100"`
	// StepTime makes a step slow.
	StepTime time.Duration

	strong strong
}

// strong is the algorithm that takes more.
type strong struct {
	// Strength multiplies every byte.
	Strength int `min:"1"`
}

func (s *shrink) Extra() ([]any, error) {
	if s.Algorithm == "strong" {
		return []any{&s.strong}, nil
	}
	return nil, nil
}

func (s *shrink) Variants() []Variant {
	return []Variant{{Key: "algorithm", Value: "plain"}, {Key: "algorithm", Value: "strong", Settings: &strong{Strength: 2}}}
}

func (s *shrink) Plan(_ context.Context, p *Planning) (Estimate, error) {
	if len(s.Calib) == 0 {
		return Estimate{}, strict.Bad("calib", "needs text: give it here or as data.calib")
	}
	size := int64(0)
	if n, ok := p.In.Forecast.(int); ok {
		size = int64(n)
	} else {
		info, err := os.Stat(modelFile(p.In.Path))
		if err != nil {
			return Estimate{}, err
		}
		size = info.Size()
	}
	n := int(float64(size) * s.Keep)
	return Estimate{OutputBytes: int64(n), PeakMemory: size, Seconds: 0.1, Model: n}, nil
}

func modelFile(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, "model.bin")
	}
	return path
}

func (s *shrink) Run(ctx context.Context, j *Job) error {
	data, err := os.ReadFile(modelFile(j.In.Path))
	if err != nil {
		return err
	}
	mix := byte(0)
	for _, f := range s.Calib {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		for _, b := range text {
			mix = mix*31 + b
		}
	}
	if t := j.Refs[s.Teacher]; t != nil {
		text, err := os.ReadFile(modelFile(t.Path))
		if err != nil {
			return err
		}
		mix += text[0]
	}
	if s.Algorithm == "strong" {
		mix *= byte(s.strong.Strength)
	}
	data = data[:int(float64(len(data))*s.Keep)]
	if err := s.steps(ctx, j, data, mix); err != nil {
		return err
	}
	f, err := j.Create("model.bin")
	if err != nil {
		return err
	}
	for _, half := range []int{1, 0} { // out of order, as sharded writers do
		lo := half * len(data) / 2
		hi := (half + 1) * len(data) / 2
		if _, err := f.WriteAt(data[lo:hi], int64(lo)); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return j.WriteJSON(report.FactsFile, report.Facts{Models: []report.Model{{Name: j.Name, Parameters: int64(len(data))}}}, false)
}

// steps changes data step by step, going on from the last checkpoint.
func (s *shrink) steps(ctx context.Context, j *Job, data []byte, mix byte) error {
	work, err := j.Checkpoints()
	if err != nil {
		return err
	}
	step := 0
	old, err := work.Open("state")
	if err != nil {
		return err
	}
	if old != nil {
		saved, err := io.ReadAll(old)
		if err := errors.Join(err, old.Close()); err != nil {
			return err
		}
		step = int(saved[0])
		copy(data, saved[1:])
		j.Note(fmt.Sprintf("goes on at step %d", step))
	}
	for ; step < s.Steps; step++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(s.StepTime):
		}
		for i := range data {
			data[i] = data[i]*5 + mix + byte(step)
		}
		err := work.Save("state", func(w io.Writer) error {
			_, err := w.Write(append([]byte{byte(step + 1)}, data...))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fakeMeter measures models.
type fakeMeter struct {
	// Models are measured, all where none is named.
	Models []string `ref:"all"`
	// Text is what they are measured on.
	Text []string `data:"heldout"`
}

func (m *fakeMeter) Plan(context.Context, *Planning) (Estimate, error) {
	return Estimate{Seconds: 1}, nil
}

func (m *fakeMeter) Run(_ context.Context, j *Job) error {
	var quality, speed report.Facts
	for _, name := range m.Models {
		data, err := os.ReadFile(modelFile(j.Refs[name].Path))
		if err != nil {
			return err
		}
		agree := float64(data[0]) / 255
		quality.Models = append(quality.Models, report.Model{Name: name, Top1Agreement: &agree,
			Perplexity: &report.Perplexity{Value: 5 + 100/float64(len(data)), Stderr: 0.01, Tokens: 4096},
			Tasks:      map[string]report.Task{"arith": {Metric: "accuracy", Value: 0.5, Stderr: 0.05, N: 100}}})
		speed.Models = append(speed.Models, report.Model{Name: name, Decode: &report.Speed{TokensPerSecond: 1e6 / float64(len(data)), Stddev: float64(time.Now().Nanosecond()) / 1e9}})
	}
	return errors.Join(j.WriteJSON(report.FactsFile, quality, false), j.WriteJSON(report.TimingsFile, speed, true))
}
