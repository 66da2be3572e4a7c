package recipes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model/tensor"
)

// Options are what the command line adds to a recipe.
type Options struct {
	// Out is the output directory; without it ./pare-out/NAME of the recipe.
	Out string
	// Memory is the most bytes a stage may take; 0 means what the machine has available.
	Memory int64
	// Workspace lists directories, besides those of the recipe and of the command, from which a recipe may read.
	Workspace []string
	// Resolve downloads an hf:// address and returns the directory it is in.
	Resolve func(ctx context.Context, ref string) (string, error)
	// Note is told what a run does, a line at a time; nil is silence.
	Note func(line string)
	// Command is how the lock file calls this process: "run quickstart".
	Command string
	// Kernel names the vector kernels in use, for the report.
	Kernel string

	fsys fsx.FS // nil means the disk
}

func (o *Options) note(format string, args ...any) {
	if o.Note != nil {
		o.Note(fmt.Sprintf(format, args...))
	}
}

// Plan is what a run would do, stage by stage, and everything it was decided on.
type Plan struct {
	Recipe   string      `json:"recipe"`
	Out      string      `json:"out"`
	Stages   []PlanStage `json:"stages"`
	Warnings []string    `json:"warnings"`
	Disk     int64       `json:"disk_bytes"`   // that the run will add
	Memory   int64       `json:"memory_bytes"` // the most a stage will take
	Seconds  float64     `json:"seconds"`

	r      *Recipe
	o      Options
	base   *Model
	models map[string]*Model // by name or path; those of stages to be made have no Path yet
	inputs []input
	memo   *memo
	assets string // key of the artifact that holds a built-in recipe's files
}

// PlanStage is one stage of a plan.
type PlanStage struct {
	Name       string   `json:"name"`
	Kind       string   `json:"stage"`
	From       string   `json:"from,omitempty"`
	Key        string   `json:"key"`
	Cached     bool     `json:"cached"` // verified and reused
	Path       string   `json:"path"`
	Output     int64    `json:"output_bytes"`
	PeakMemory int64    `json:"peak_memory_bytes"`
	Seconds    float64  `json:"seconds"`
	Details    []string `json:"details,omitempty"`

	step     *Step
	settings json.RawMessage // as written, with defaults
	inputs   []store.Input   // digests are filled in when they are known
	refs     map[string]*Model
	in       *Model
	found    *store.Artifact
	forecast Estimate
}

// start returns the number that the stage's random choices begin with.
func (s *PlanStage) start() uint64 {
	if s.step.Seed == nil {
		return 0
	}
	return *s.step.Seed
}

// input is a file or model that the run reads.
type input struct {
	role, name, path, digest string
	bytes                    int64
}

// NewPlan says what running the recipe would do. It reads inputs and verifies what is there already, but does no work
// and writes nothing.
func NewPlan(ctx context.Context, r *Recipe, o Options) (*Plan, error) {
	p, err := newPlan(r, o, newMemo())
	if err != nil {
		return nil, err
	}
	cleanup, err := p.borrowAssets(ctx)
	if err != nil {
		return nil, err
	}
	defer cleanup()
	find := func(key string) (*store.Artifact, error) {
		a, err := store.Find(ctx, p.o.fsys, p.Out, key)
		p.memo.artifacts[key] = a
		return a, err
	}
	if err := p.build(ctx, find); err != nil {
		return nil, err
	}
	return p, nil
}

// newPlan begins a plan on a copy of the recipe, since planning fills its settings in.
func newPlan(r *Recipe, o Options, m *memo) (*Plan, error) {
	if o.fsys == nil {
		o.fsys = fsx.OS
	}
	if o.Out == "" {
		o.Out = filepath.Join("pare-out", r.name)
	}
	r, err := r.fresh()
	if err != nil {
		return nil, err
	}
	return &Plan{Recipe: r.name, Out: o.Out, r: r, o: o, memo: m, models: map[string]*Model{}, Warnings: slices.Clone(r.warnings)}, nil
}

// borrowAssets makes the files of a built-in recipe readable while it is planned: those of an earlier run, or a copy
// that cleanup removes.
func (p *Plan) borrowAssets(ctx context.Context) (cleanup func(), err error) {
	cleanup = func() {}
	if p.assets, err = p.r.assetsKey(); err != nil || p.assets == "" {
		return cleanup, err
	}
	if a, err := store.Find(ctx, fsx.OS, p.Out, p.assets); err == nil && a != nil {
		p.r.dir, err = filepath.Abs(a.Path)
		return cleanup, err
	}
	t := store.Target{FS: fsx.OS, Path: filepath.Join(os.TempDir(), fmt.Sprintf("pare-%s-%d", p.r.name, os.Getpid())), Force: true}
	d, err := t.Dir()
	if err != nil {
		return cleanup, err
	}
	if _, err := p.r.unpack(d, p.assets); err != nil {
		return cleanup, err
	}
	p.r.dir = t.Path
	return func() { fsx.RemoveAll(fsx.OS, t.Path) }, nil
}

// build fills the plan. find looks for an artifact.
func (p *Plan) build(ctx context.Context, find func(key string) (*store.Artifact, error)) error {
	w, err := newWorkspace(p.r.dir, &p.o, p.memo)
	if err != nil {
		return err
	}
	if err := p.openBase(ctx, w); err != nil {
		return err
	}
	data, err := p.resolveData(w)
	if err != nil {
		return err
	}
	if err := p.overlap(data); err != nil {
		return err
	}
	var errs []error
	for i := range p.r.Stages {
		s, err := p.stage(ctx, w, &p.r.Stages[i], data)
		if err == nil && s != nil {
			err = errors.Join(p.lookup(s, find), p.estimate(ctx, s))
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		errs = append(errs, err)
		if err != nil || s == nil { // nil: what it starts from has an error of its own
			continue
		}
		p.Stages = append(p.Stages, *s)
		m := &Model{Name: s.Name, Bytes: s.Output, Forecast: s.forecast.Model}
		if s.found != nil {
			m.Path, m.Digest, m.Forecast = s.found.Path, s.found.Digest(), nil
		}
		p.models[s.Name] = m
	}
	errs = append(errs, p.overlap(nil), p.fits())
	if err := strict.Join(errs...); err != nil {
		return err
	}
	return p.leftovers()
}

// openBase finds the recipe's own model.
func (p *Plan) openBase(ctx context.Context, w *workspace) error {
	if p.r.Model == "" {
		return nil
	}
	n, _ := p.r.root.Get("model")
	m, err := w.model(ctx, n, Base, p.r.Model)
	if err != nil {
		return err
	}
	p.base = m
	p.models[Base] = m
	p.inputs = append(p.inputs, input{"model", p.r.Model, m.Path, m.Digest, m.Bytes})
	return nil
}

// resolveData turns the recipe's data into files.
func (p *Plan) resolveData(w *workspace) (map[string][]string, error) {
	data := map[string][]string{}
	root, _ := p.r.root.Get("data")
	var errs []error
	for _, f := range strict.Fields(&p.r.Data) {
		n, ok := root.Get(f.Key)
		if !ok {
			continue
		}
		for _, c := range n.List() {
			pattern, err := c.Text()
			if err != nil {
				return nil, err // decoding has seen it
			}
			files, err := w.files(c, pattern)
			errs = append(errs, err)
			data[f.Key] = append(data[f.Key], files...)
		}
	}
	p.warnShared(data)
	return data, strict.Join(errs...)
}

// warnShared says so where text for measuring is also text to learn from: the figures would be too good.
func (p *Plan) warnShared(data map[string][]string) {
	for _, role := range []string{"calib", "train"} {
		for _, f := range data["heldout"] {
			if slices.Contains(data[role], f) {
				p.Warnings = append(p.Warnings, fmt.Sprintf("%s is both %s and heldout data: what is measured on it will look too good", f, role))
			}
		}
	}
}

// overlap refuses an output directory that is, holds or lies in something the run reads.
func (p *Plan) overlap(data map[string][]string) error {
	var paths []string
	for _, in := range p.inputs {
		paths = append(paths, in.path)
	}
	for _, role := range slices.Sorted(maps.Keys(data)) {
		paths = append(paths, data[role]...)
	}
	for _, path := range paths {
		if rel, err := filepath.Rel(p.r.dir, path); p.assets != "" && err == nil && filepath.IsLocal(rel) {
			continue // unpacked there by the run itself
		}
		if err := store.Overlap(p.Out, path); err != nil {
			return strict.Errorf(tensor.ErrInvalid, "output "+p.Out, "", "%v", err)
		}
	}
	return nil
}

// manyWarnings is how many of one stage are told one by one.
const manyWarnings = 3

// warn tells what a stage warns of; of many warnings only the first, and all of them in the details.
func (p *Plan) warn(s *PlanStage, warnings []string) {
	for i, w := range warnings {
		if i == manyWarnings-1 && len(warnings) > manyWarnings {
			p.Warnings = append(p.Warnings, fmt.Sprintf("%s: and %d more of this kind, see pare plan --details", s.Name, len(warnings)-i))
			break
		}
		p.Warnings = append(p.Warnings, s.Name+": "+w)
	}
	if len(warnings) > manyWarnings {
		s.Details = append(s.Details, warnings...)
	}
}

// leftovers warns of checkpoints that no stage of this plan will use.
func (p *Plan) leftovers() error {
	left, err := store.Leftovers(p.o.fsys, p.Out)
	if err != nil {
		return err
	}
	for _, s := range p.Stages {
		delete(left, store.ScratchName(s.Name, s.Key))
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s holds %s of an unfinished stage with other settings; delete it if you do not want to go on with that",
			filepath.Join(p.Out, name), report.Bytes(left[name])))
	}
	return nil
}
