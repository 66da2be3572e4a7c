package recipes

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/strict"
)

func init() {
	Register(Kind{Name: "convert", Sources: []fs.FS{source}, New: func() Stage { return &convertStage{Container: "hf"} }})
}

// convertStage writes the model again, as a Hugging Face directory or a GGUF file, its weights as they are or as another
// plain float type.
type convertStage struct {
	// Container is hf or gguf.
	Container string `yaml:"container" oneof:"hf gguf"`
	// Type is the type of the weights: f32, f16 or bf16; none keeps what they are.
	Type string `yaml:"type" oneof:"f32 f16 bf16"`
}

func (s *convertStage) Plan(ctx context.Context, p *Planning) (Estimate, error) {
	m, err := p.In.open()
	if err != nil {
		return Estimate{}, err
	}
	defer m.Close()
	out := m
	if s.Type != "" {
		if out, err = m.As(s.Type); err != nil {
			return Estimate{}, strict.Bad("type", "%v", err)
		}
	}
	n, err := size(ctx, out, p.Name, s.Container == "gguf", "")
	return Estimate{OutputBytes: n, Warnings: llamaNotes(out, s.Container == "gguf"), PeakMemory: overhead + 64<<20, Seconds: float64(n) / 500e6, Model: out.Outline(m.Config),
		Details: []string{fmt.Sprintf("%s, %s", s.Container, formatOf(out))}}, err
}

func (s *convertStage) Run(ctx context.Context, j *Job) error {
	m, err := j.In.open()
	if err != nil {
		return err
	}
	defer m.Close()
	out := m
	if s.Type != "" {
		if out, err = m.As(s.Type); err != nil {
			return err
		}
	}
	if err := j.save(ctx, out, s.Container == "gguf", ""); err != nil {
		return err
	}
	return j.facts(report.Facts{Models: []report.Model{describe(j.Name, formatOf(out), out)}})
}
