package recipes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/parelm/pare/distill"
	"github.com/parelm/pare/eval"
	"github.com/parelm/pare/internal/measure"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/quantize"
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
	// TaskFiles are files of questions, by the name they get in the report: JSON lines, or a task in YAML (pare recipes help
	// task).
	TaskFiles map[string]string `yaml:"task_files" path:"file"`
	// Text is the text for perplexity and divergence; without it the recipe's data.heldout.
	Text []string `yaml:"text" data:"heldout"`
	// Answers is a cached teacher, a stage of the kind cache or a file: kld is then the divergence from what it says, over its own
	// text, and no baseline has to run.
	Answers string `yaml:"answers" ref:"any"`
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

// Reads are the data of tasks in YAML.
func (s *evalStage) Reads() ([]string, error) {
	names, err := s.files()
	if err != nil {
		return nil, nil // Plan says so
	}
	var out []string
	for _, n := range names {
		more, err := eval.TaskFiles(s.TaskFiles[n])
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

func (s *evalStage) Plan(_ context.Context, p *Planning) (Estimate, error) {
	files, err := s.files()
	if err != nil {
		return Estimate{}, err
	}
	if s.Answers != "" && !s.has("kld") {
		return Estimate{}, strict.Bad("answers", "serve kld, which tasks do not name")
	}
	if ref := p.Refs[s.Answers]; ref != nil {
		if _, cache := ref.Forecast.(cachePlan); !cache && ref.cachePath() == "" {
			return Estimate{}, strict.Bad("answers", "%s is no cached teacher", s.Answers)
		}
	}
	if (s.has("perplexity") || s.has("kld") && s.Answers == "") && len(s.Text) == 0 {
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
	suite := measure.Suite{
		Source:     eval.Source{Text: s.Text, MaxTokens: s.MaxTokens, Window: s.Window, Stride: s.Stride},
		Perplexity: s.has("perplexity"), KLD: s.has("kld"), Limit: s.Limit,
	}
	for _, name := range files {
		suite.Tasks = append(suite.Tasks, measure.Task{Name: name, Path: s.TaskFiles[name]})
	}
	if ref := j.Refs[s.Answers]; ref != nil {
		if suite.Answers, err = distill.OpenCache(ref.cachePath()); err != nil {
			return err
		}
		defer suite.Answers.Close()
	}
	facts, err := s.quality(ctx, j, &suite)
	if err != nil {
		return err
	}
	var timings report.Facts
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
	if err := s.cards(j, facts); err != nil {
		return err
	}
	if err := j.WriteJSON(report.FactsFile, facts, false); err != nil {
		return err
	}
	return j.WriteJSON(report.TimingsFile, timings, true)
}

// cards writes the cards of the models that have one once more, with what was measured: NAME-card.md. Those beside the models
// were written before, and artifacts do not change.
func (s *evalStage) cards(j *Job, facts report.Facts) error {
	if len(facts.Models) == 0 {
		return nil
	}
	table := report.Evaluation(facts.Models, facts.Protocol)
	for _, name := range s.Models {
		ref := j.Refs[name]
		dir := ref.Path
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			dir = filepath.Dir(dir)
		}
		card, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err != nil || !quantize.IsCard(card) {
			continue // of another program, or none
		}
		f, err := j.CreateVolatile(ref.Name + "-card.md")
		if err != nil {
			return err
		}
		_, err = f.WriteAt(append(card, table...), 0)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// quality measures what is the same in every run.
func (s *evalStage) quality(ctx context.Context, j *Job, suite *measure.Suite) (report.Facts, error) {
	var out report.Facts
	if !suite.Perplexity && !suite.KLD && len(suite.Tasks) == 0 {
		return out, nil
	}
	var base *measure.Subject
	for i, name := range s.Models {
		ref := j.Refs[name]
		m, err := suite.Open(ctx, ref.Path)
		if err == nil {
			if i == 0 {
				base = m
				defer base.Close()
			}
			var r *measure.Row
			if r, err = suite.Run(ctx, ref.Name, base, m); err == nil {
				out.Models = append(out.Models, r.Model)
				for _, p := range r.Pairs {
					p.Name, p.Baseline = ref.Name, s.Models[0]
					out.Pairs = append(out.Pairs, p)
				}
				out.Protocol = append(out.Protocol, r.Protocol...)
				out.Warnings = append(out.Warnings, r.Warnings...)
			}
			if m != base { // held no longer than needed: models are large
				m.Close()
			}
		}
		if err != nil {
			return out, fmt.Errorf("%s: %w", ref.Name, err)
		}
	}
	return out, nil
}

func speed(s eval.Speed) *report.Speed {
	return &report.Speed{TokensPerSecond: s.TokensPerSecond, Stddev: s.StdDev, Tokens: s.Tokens}
}
