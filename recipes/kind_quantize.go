package recipes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/quantize"
)

func init() {
	Register(Kind{Name: "quantize", Sources: []fs.FS{source, quantize.Source}, New: func() Stage {
		return &quantizeStage{Settings: quantize.Settings{Algorithm: "rtn"}, Calibration: defaultCalibration}
	}})
}

// journalBytes is the size of a model from which on finished matrices go into a journal; tests lower it.
var journalBytes int64 = quantize.JournalBytes

// quantizeStage stores weights in fewer bits. GGUF formats (Q8_0, Q4_K_M ...) make a .gguf file, the schemes W4A16 and
// W8A16 a safetensors checkpoint in the layout of compressed-tensors. Each algorithm has keys of its own.
type quantizeStage struct {
	quantize.Settings
	Calibration
	// Imatrix is a file of importances in either of llama.cpp's formats. It takes the place of calibration text for rtn.
	Imatrix   string `yaml:"imatrix" path:"file"`
	algorithm quantize.Algorithm
}

// UsesSeed: samples are placed by the seed.
func (s *quantizeStage) UsesSeed() bool {
	return s.Budgeted() || s.algorithm != nil && s.algorithm.Needs() != nil
}

// Extra gives the algorithm's own keys.
func (s *quantizeStage) Extra() ([]any, error) {
	if s.algorithm == nil {
		a, err := quantize.New(s.Algorithm)
		if err != nil {
			return nil, strict.Bad("algorithm", "%v", err)
		}
		s.algorithm = a
	}
	return []any{s.algorithm}, nil
}

// Variants lists the algorithms.
func (s *quantizeStage) Variants() []Variant {
	var out []Variant
	for _, name := range quantize.Algorithms() {
		a, err := quantize.New(name)
		if err != nil {
			continue
		}
		out = append(out, Variant{Key: "algorithm", Value: name, Settings: a})
	}
	return out
}

func (s *quantizeStage) Plan(ctx context.Context, p *Planning) (Estimate, error) {
	m, err := p.In.open()
	if err != nil {
		return Estimate{}, err
	}
	defer m.Close()
	if m, err = s.Prepare(m); err != nil {
		return Estimate{}, err
	}
	choices, err := quantize.Plan(m, s.Settings)
	if err != nil {
		return Estimate{}, err
	}
	e := Estimate{}
	out := m.Outline(m.Config)
	formats := map[*model.Weight]*tensor.Tensor{}
	byFormat, order := map[string]int{}, []string{}
	for _, c := range choices {
		if c.Codec == nil {
			continue
		}
		w := out.Graph.Weight(c.Weight.Name)
		formats[w] = model.Zeros(w, c.Codec)
		name := c.Codec.Name()
		if byFormat[name] == 0 {
			order = append(order, name)
		}
		byFormat[name]++
		if c.Wanted != "" {
			e.Warnings = append(e.Warnings, fmt.Sprintf("%s becomes %s: its rows are no multiple of a %s block", c.Weight.Name, name, c.Wanted))
		}
	}
	out = s.Pack(out.With(formats))
	if e.OutputBytes, err = size(ctx, out, p.Name, !quantize.Packed(s.Format), s.Format); err != nil {
		return e, err
	}
	for _, name := range order {
		e.Details = append(e.Details, fmt.Sprintf("%d matrices %s", byFormat[name], quantize.DisplayName(name)))
	}
	e.Model = out
	e.Warnings = append(e.Warnings, llamaNotes(out, !quantize.Packed(s.Format))...)
	if s.Budgeted() {
		if err := s.budgeted(&e, m.Graph.Parameters(), out.Bytes()); err != nil {
			return e, err
		}
	}
	memory := s.PeakMemory(m, choices, s.algorithm, s.tokens(m), int64(s.length(m)), m.Bytes() < journalBytes)
	if s.MaxRAM != "" {
		if _, err := s.CheckMemory(memory); err != nil {
			return e, strict.Bad("max_ram", "%v", err)
		}
	}
	e.PeakMemory = memory.Bytes
	e.Seconds = seconds(200 * float64(m.Graph.Parameters()))
	if needs := s.algorithm.Needs(); needs != nil {
		e.Seconds += seconds(2 * forward(m) * float64(s.tokens(m)))
		if needs.Hessian {
			e.Seconds += seconds(hessians(m, float64(s.tokens(m))))
		}
	}
	return e, nil
}

// budgeted says what bounds the size, and what the usual mix, whose weights take so many bytes, would take.
func (s *quantizeStage) budgeted(e *Estimate, parameters, weights int64) error {
	usual, rest := e.OutputBytes, e.OutputBytes-weights
	within := fmt.Sprintf("a divergence of %g", s.MaxKLD)
	switch {
	case s.TargetSize != "":
		n, err := quantize.ParseSize("target_size", s.TargetSize)
		if err != nil {
			return err
		}
		e.OutputBytes, within = n, fmt.Sprintf("%s (%.2f bits per weight)", s.TargetSize, 8*float64(n-rest)/float64(parameters))
	case s.TargetBPW > 0:
		e.OutputBytes = int64(s.TargetBPW*float64(parameters)/8) + rest
		within = fmt.Sprintf("%g bits per weight (%.1f MB)", s.TargetBPW, float64(e.OutputBytes)/1e6)
	}
	e.Details = []string{fmt.Sprintf("the format of each matrix is chosen within %s; %s would take %.1f MB, %.2f bits per weight",
		within, quantize.DisplayName(s.Format), float64(usual)/1e6, 8*float64(weights)/float64(parameters))}
	if s.MaxKLD > 0 {
		e.Details = append(e.Details, "the smallest size that stays within it is not known before it is measured: that of "+quantize.DisplayName(s.Format)+" is shown")
	}
	return nil
}

// hessians returns the work of all second moments on so many tokens, of factorising them, and of feeding errors back.
func hessians(m *model.Model, tokens float64) (work float64) {
	for _, g := range m.Graph.Groups() {
		n := float64(g.Input.Out.Size())
		work += n*n*tokens/2 + n*n*n
		for _, l := range g.Linears {
			if w := l.Weight(0); g.Linears[0].Layer >= 0 && w != nil {
				work += 3 * n * float64(w.Len())
			}
		}
	}
	return work
}

func (s *quantizeStage) Run(ctx context.Context, j *Job) error {
	m, err := j.In.open()
	if err != nil {
		return err
	}
	defer m.Close()
	var o quantize.Options
	if s.Imatrix != "" {
		if o.Imatrix, err = calib.OpenImatrix(s.Imatrix); err != nil {
			return err
		}
	}
	if s.Settings.NeedsText(s.algorithm, o.Imatrix) {
		if o.Samples, err = s.samples(ctx, m, j.Seed); err != nil {
			return err
		}
	}
	if o.Stream = s.Streams(s.algorithm, o.Imatrix); !o.Stream && m.Bytes() >= journalBytes {
		c, err := j.Checkpoints()
		if err != nil {
			return err
		}
		o.Journal = journal{c}
	}
	small, r, err := quantize.Run(ctx, m, s.Settings, s.algorithm, o)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, note := range r.Notes {
		j.Note(note)
	}
	if err := j.save(ctx, small, !quantize.Packed(s.Format), s.Format); err != nil {
		return err
	}
	r.Complete()
	if r.Adapter != nil {
		if err := s.saveAdapter(ctx, j, small, r.Adapter); err != nil {
			return err
		}
	}
	if err := s.card(j, r); err != nil {
		return err
	}
	t := report.Table{Title: j.Name + ": formats and errors", Columns: []string{"matrix", "format", "relative output error", "held out", "note"}}
	for _, x := range r.Tensors {
		held := ""
		if x.Held > 0 {
			held = fmt.Sprintf("%.3g", x.Held)
		}
		t.Rows = append(t.Rows, []string{x.Name, quantize.DisplayName(x.Format), fmt.Sprintf("%.3g", x.Error), held, x.Note})
	}
	tables := []report.Table{t}
	if r.Budget != nil {
		tables = append(tables, budgetTables(j.Name, r.Budget)...)
	}
	return j.facts(report.Facts{Models: []report.Model{describe(j.Name, quantize.DisplayName(s.Format), small)}, Tables: tables})
}

// under is a directory within a stage's artifact.
type under struct {
	j   *Job
	dir string
}

func (u under) Create(name string) (model.SinkFile, error) { return u.j.Create(u.dir + "/" + name) }

// saveAdapter writes the correction into a directory of its own, from which it opens as a model.
func (s *quantizeStage) saveAdapter(ctx context.Context, j *Job, m *model.Model, a model.Adapter) error {
	to := under{j, "adapter"}
	if quantize.Packed(s.Format) {
		return m.SaveAdapter(ctx, to, a, "..")
	}
	f, err := to.Create("adapter.gguf")
	if err != nil {
		return err
	}
	return errors.Join(m.SaveAdapterGGUF(f, a, "../"+ggufFile), f.Close())
}

// card writes the model card beside the model.
func (s *quantizeStage) card(j *Job, r *quantize.Report) error {
	c := quantize.Card{Name: j.Name, Base: j.In.Name, Format: s.Format, Algorithm: s.Algorithm, Report: r,
		Settings: settingLines(&s.Settings, s.algorithm), Inputs: []string{fmt.Sprintf("%s, sha256 %s", j.In.Name, j.In.Digest)}}
	if !quantize.Packed(s.Format) {
		c.File = ggufFile
	}
	if r.Adapter != nil {
		if c.Adapter = "adapter"; c.File != "" {
			c.Adapter = "adapter/adapter.gguf"
		}
	}
	f, err := j.CreateVolatile("README.md")
	if err != nil {
		return err
	}
	_, err = f.WriteAt(c.Markdown(), 0)
	return errors.Join(err, f.Close())
}

// settingLines lists the keys of structs that say something.
func settingLines(settings ...any) string {
	var b strings.Builder
	for _, f := range strict.Fields(settings...) {
		if !f.Value.IsZero() && f.Tag.Get("result") != "same" {
			fmt.Fprintf(&b, "%s: %v\n", f.Key, strict.Plain(f.Value))
		}
	}
	return b.String()
}

// budgetTables say how formats were chosen.
func budgetTables(name string, b *quantize.Budget) []report.Table {
	tried := report.Table{Title: name + ": plans tried within the budget", Columns: []string{"plan by", "bytes", "divergence"}}
	for _, t := range b.Tried {
		mark := t.Plan
		if mark == b.Plan {
			mark += " (chosen)"
		}
		tried.Rows = append(tried.Rows, []string{mark, fmt.Sprint(t.Bytes), fmt.Sprintf("%.5f", t.Divergence)})
	}
	rows := report.Table{Title: name + ": why each matrix has its format", Columns: []string{"matrix", "format", "bits", "error", "sensitivity"}}
	for _, x := range b.Rows {
		rows.Rows = append(rows.Rows, []string{x.Name, quantize.DisplayName(x.Format), fmt.Sprintf("%.3f", x.Bits), fmt.Sprintf("%.3g", x.Error), fmt.Sprintf("%.3g", x.Sensitivity)})
	}
	return []report.Table{tried, rows}
}

// journal is the stage's checkpoints as a quantize.Journal.
type journal struct{ *Checkpoints }

func (j journal) Open(name string) (quantize.JournalFile, error) {
	f, err := j.Checkpoints.Open(name)
	if f == nil || err != nil {
		return nil, err // not a JournalFile that holds nil
	}
	return f, nil
}
