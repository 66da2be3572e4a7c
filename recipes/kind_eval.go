package recipes

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/parelm/pare/eval"
	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

func init() {
	Register(Kind{Name: "eval", Sources: []fs.FS{source}, Measures: true, New: func() Stage {
		return &evalStage{Tasks: []string{"perplexity", "kld", "bench"}, BenchPrompt: 128, BenchGenerate: 64}
	}})
}

// evalStage measures models, always from the files that were written.
type evalStage struct {
	// Models are the models to measure, by stage or path; without them all models before this stage, base included.
	Models []string `yaml:"models" ref:"all"`
	// Tasks are what to measure: perplexity, kld (divergence from the baseline and agreement with it), bench (speed and
	// memory), and the names of task_files.
	Tasks []string `yaml:"tasks"`
	// TaskFiles are files of questions as JSON lines, by the name they get in the report.
	TaskFiles map[string]string `yaml:"task_files" path:"file"`
	// Text is the text for perplexity and divergence; without it the recipe's data.heldout.
	Text []string `yaml:"text" data:"heldout"`
	// MaxTokens bounds the tokens of that text; 0 means all.
	MaxTokens int `yaml:"max_tokens" min:"0"`
	// Window is the length of the sequences that the text is cut into; 0 fills the context, up to 2048.
	Window int `yaml:"window" min:"0"`
	// Stride is the distance from one window to the next; 0 means the window.
	Stride int `yaml:"stride" min:"0"`
	// Limit bounds the questions of each file; 0 means all.
	Limit int `yaml:"limit" min:"0"`
	// BenchPrompt is the length of the prompt that the speed of reading is measured with.
	BenchPrompt int `yaml:"bench_prompt" min:"1" max:"65536"`
	// BenchGenerate is how many tokens the speed of writing is measured over.
	BenchGenerate int `yaml:"bench_generate" min:"1" max:"65536"`
}

func (s *evalStage) has(task string) bool { return slices.Contains(s.Tasks, task) }

// files returns the names of the task files to run, in the order given.
func (s *evalStage) files() ([]string, error) {
	var out []string
	for _, t := range s.Tasks {
		switch t {
		case "perplexity", "kld", "bench":
			continue
		}
		if _, ok := s.TaskFiles[t]; !ok {
			known := []string{"perplexity", "kld", "bench"}
			for n := range s.TaskFiles {
				known = append(known, n)
			}
			return nil, strict.Bad("tasks", "%q is no task%s", t, strict.DidYouMean(t, known))
		}
		out = append(out, t)
	}
	var unnamed []string
	for n := range s.TaskFiles {
		if !slices.Contains(out, n) {
			unnamed = append(unnamed, n)
		}
	}
	sort.Strings(unnamed) // a file that is given is run, named in tasks or not
	return append(out, unnamed...), nil
}

func (s *evalStage) Plan(_ context.Context, p *Planning) (Estimate, error) {
	files, err := s.files()
	if err != nil {
		return Estimate{}, err
	}
	if (s.has("perplexity") || s.has("kld")) && len(s.Text) == 0 {
		return Estimate{}, strict.Bad("tasks", "perplexity and kld need text: give data.heldout in the recipe, or text here")
	}
	e := Estimate{Details: []string{strings.Join(append(slices.Clone(s.Tasks), files...), ", ")}}
	tokens := float64(s.MaxTokens)
	if tokens == 0 {
		tokens = 50_000
	}
	var baseline int64
	for i, name := range s.Models {
		ref := p.Refs[name]
		if ref == nil {
			continue
		}
		m, err := ref.open()
		if err != nil {
			return e, err
		}
		if i == 0 {
			baseline = m.Bytes()
		}
		e.PeakMemory = max(e.PeakMemory, overhead+baseline+m.Bytes())
		e.Seconds += seconds(2*forward(m)*tokens) + 5
		m.Close()
	}
	return e, nil
}

func (s *evalStage) Run(ctx context.Context, j *Job) error {
	files, err := s.files()
	if err != nil {
		return err
	}
	var out, timings report.Facts
	var base *measured
	defer func() {
		if base != nil {
			base.close()
		}
	}()
	for i, name := range s.Models {
		ref := j.Refs[name]
		r := report.Model{Name: ref.Name}
		var m *measured
		if s.has("perplexity") || s.has("kld") || len(files) > 0 {
			if m, err = openMeasured(ctx, ref.Path); err != nil {
				return fmt.Errorf("%s: %w", ref.Name, err)
			}
			err = s.measure(ctx, base, m, files, &r, &out)
			if i == 0 {
				base = m
			} else {
				m.close()
			}
			if err != nil {
				return fmt.Errorf("%s: %w", ref.Name, err)
			}
		}
		out.Models = append(out.Models, r)
	}
	if base != nil {
		base.close()
		base = nil
	}
	for _, name := range s.Models {
		if !s.has("bench") {
			break
		}
		ref := j.Refs[name]
		b, err := eval.Bench(ctx, ref.Path, s.BenchPrompt, s.BenchGenerate, 3)
		if err != nil {
			return fmt.Errorf("%s: %w", ref.Name, err)
		}
		timings.Models = append(timings.Models, report.Model{Name: ref.Name, LoadSeconds: b.LoadSeconds, PeakMemory: b.PeakMemory,
			Prefill: speed(b.Prefill), Decode: speed(b.Decode)})
	}
	if err := j.WriteJSON(report.FactsFile, out, false); err != nil {
		return err
	}
	return j.WriteJSON(report.TimingsFile, timings, true)
}

func speed(s eval.Speed) *report.Speed {
	return &report.Speed{TokensPerSecond: s.TokensPerSecond, Stddev: s.StdDev, Tokens: s.Tokens}
}

// measured is a model being measured.
type measured struct {
	m   *model.Model
	e   *runtime.Engine
	ids []int32
	p   eval.Protocol
}

func openMeasured(ctx context.Context, path string) (*measured, error) {
	m, err := model.Open(path)
	if err != nil {
		return nil, err
	}
	e, err := runtime.Load(ctx, m, runtime.Options{})
	if err != nil {
		m.Close()
		return nil, err
	}
	return &measured{m: m, e: e}, nil
}

func (m *measured) close() { m.m.Close() }

// measure fills in what is the same in every run.
func (s *evalStage) measure(ctx context.Context, base, m *measured, files []string, r *report.Model, out *report.Facts) error {
	r.Parameters = m.m.Graph.Parameters()
	r.BitsPerWeight = 8 * float64(m.m.Bytes()) / float64(r.Parameters)
	r.Format = formatOf(m.m)
	tok, err := m.m.Tokenizer()
	if err != nil {
		return err
	}
	if s.has("perplexity") || s.has("kld") {
		paths, err := corpus.Files(s.Text)
		if err != nil {
			return err
		}
		if m.ids, err = corpus.Stream(ctx, tok, paths, corpus.Plain); err != nil {
			return err
		}
		if s.MaxTokens > 0 && len(m.ids) > s.MaxTokens {
			m.ids = m.ids[:s.MaxTokens]
		}
		if m.p, err = eval.NewProtocol(m.e.Context(), tok.BOS(), tok.PrependsBOS(), s.Window, s.Stride); err != nil {
			return err
		}
		if base != nil && !slices.Equal(base.ids, m.ids) {
			return fmt.Errorf("its tokenizer cuts the text otherwise than the baseline's: perplexities would not compare")
		}
		if base != nil {
			m.p = base.p
		}
		if err := s.text(ctx, base, m, r); err != nil {
			return err
		}
		out.Protocol = append(out.Protocol, fmt.Sprintf("Perplexity and divergence over %d tokens: %s.", len(m.ids), m.p))
	}
	for _, name := range files {
		t, err := eval.RunTask(ctx, m.e, tok, s.TaskFiles[name], s.Limit)
		if err != nil {
			return err
		}
		if r.Tasks == nil {
			r.Tasks = map[string]report.Task{}
		}
		r.Tasks[name] = report.Task{Metric: t.Metric, Value: t.Value, Stderr: t.StdErr, Low: max(0, t.Value-1.96*t.StdErr),
			High: min(1, t.Value+1.96*t.StdErr), N: t.N}
		out.Protocol = append(out.Protocol, fmt.Sprintf("%s: %s.", name, t.Protocol))
		if t.Truncated > 0 {
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s on %s: %d prompts lost their beginning to fit the context", name, r.Name, t.Truncated))
		}
	}
	return nil
}

// text measures perplexity and, where there is a baseline, divergence from it.
func (s *evalStage) text(ctx context.Context, base, m *measured, r *report.Model) error {
	c := &eval.Comparison{}
	var err error
	if base != nil && s.has("kld") {
		c, err = eval.Compare(ctx, base.e, m.e, m.ids, m.p)
	} else {
		c.Perplexity, err = eval.Measure(ctx, m.e, m.ids, m.p)
	}
	if err != nil {
		return err
	}
	p := c.Perplexity
	if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) {
		return fmt.Errorf("its perplexity is %v", p.Value)
	}
	if s.has("perplexity") {
		r.Perplexity = &report.Perplexity{Value: p.Value, Stderr: p.StdErr, Tokens: int64(p.Tokens), NLL: p.NLL / float64(p.Tokens), Protocol: p.Protocol}
	}
	if c.KLD != nil {
		r.KLD = &report.KLD{Mean: c.KLD.Mean, Stderr: c.KLD.StdErr, P99: c.KLD.P99, Max: c.KLD.Max}
		r.Top1Agreement, r.Top1Stderr = &c.Top1.Value, c.Top1.StdErr
	}
	return nil
}
