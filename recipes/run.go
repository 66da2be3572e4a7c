package recipes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/peak"
	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/internal/version"
)

// Errors of a run, beside those of recipes and files. Test with errors.Is.
var (
	// ErrGate: everything ran, but a model does not hold what the recipe demands.
	ErrGate = errors.New("gate not met")
	// ErrInterrupted: the context ended; what was finished is kept, and the next run goes on from there.
	ErrInterrupted = errors.New("interrupted: run it again to go on from here")
)

// Outcome is what a run made.
type Outcome struct {
	Recipe    string     `json:"recipe"`
	Out       string     `json:"out"`
	Artifacts []Artifact `json:"artifacts"`
	Report    Files      `json:"report"`
	Gate      *Verdict   `json:"gate,omitempty"`
	Headline  string     `json:"headline,omitempty"` // what became of the model, in a sentence
	Warnings  []string   `json:"warnings,omitempty"`
}

// Artifact is the result of one stage: a directory with a manifest.
type Artifact struct {
	Name    string  `json:"name"`
	Stage   string  `json:"stage"` // its kind
	Path    string  `json:"path"`
	Digest  string  `json:"digest"` // of its files
	Bytes   int64   `json:"bytes"`  // of those the digest covers
	Reused  bool    `json:"reused"`
	Seconds float64 `json:"seconds"` // that it took to make, now or then
}

// Files are where the report is.
type Files struct {
	MD    string `json:"md"`
	HTML  string `json:"html"`
	JSON  string `json:"json"`
	Plot  string `json:"plot,omitempty"`
	JUnit string `json:"junit,omitempty"`
}

// Verdict says whether the gate is met.
type Verdict struct {
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
}

// Check is one demand of the gate and how it went.
type Check struct {
	Name  string  `json:"name"`
	Limit float64 `json:"limit"`
	Value float64 `json:"value"`
	OK    bool    `json:"ok"`
	Text  string  `json:"text"`
}

// run is a recipe being run.
type run struct {
	p     *Plan
	s     *store.Store
	out   *Outcome
	done  map[string]*store.Artifact // by stage
	peaks map[string]int64           // memory, by stage
}

// Run makes what the recipe's stages describe, except what is there already, writes the report and checks the gate. The
// outcome is returned with ErrGate too. While it runs nobody else can use the output directory.
func Run(ctx context.Context, r *Recipe, o Options) (*Outcome, error) {
	p, err := newPlan(r, o, nil)
	if err != nil {
		return nil, err
	}
	if err := store.Busy(p.o.fsys, p.Out); errors.Is(err, fsx.ErrBusy) { // before hashing gigabytes for nothing
		return nil, err
	}
	first, err := NewPlan(ctx, r, o) // finds whatever is wrong before anything is written
	if err != nil {
		return nil, err
	}
	p.memo = first.memo
	s, err := store.Open(p.o.fsys, p.Out, p.o.Command)
	if err != nil {
		return nil, err
	}
	run := &run{p: p, s: s, done: map[string]*store.Artifact{}, peaks: map[string]int64{}}
	out, err := run.all(ctx)
	if e := s.Close(); err == nil {
		err = e
	}
	return out, err
}

func (r *run) all(ctx context.Context) (*Outcome, error) {
	p := r.p
	if err := r.assets(ctx); err != nil {
		return nil, r.failed(ctx, "", err)
	}
	if err := p.build(ctx, func(key string) (*store.Artifact, error) { return r.find(ctx, key) }); err != nil {
		return nil, r.failed(ctx, "", err)
	}
	for _, w := range p.Warnings {
		p.o.note("warning: %s", w)
	}
	if err := r.s.Log(store.Event{Event: "run", Note: p.Recipe + ", pare " + version.String()}); err != nil {
		return nil, err
	}
	r.out = &Outcome{Recipe: p.Recipe, Out: p.Out, Warnings: p.Warnings}
	for i := range p.Stages {
		if err := r.stage(ctx, &p.Stages[i]); err != nil {
			return nil, r.failed(ctx, p.Stages[i].Name, err)
		}
	}
	if err := r.report(); err != nil {
		return nil, r.failed(ctx, "", err)
	}
	if err := r.s.Log(store.Event{Event: "end"}); err != nil {
		return nil, err
	}
	if r.out.Gate != nil && !r.out.Gate.OK {
		return r.out, ErrGate
	}
	return r.out, nil
}

// find looks for an artifact again now that nobody else can change it, without hashing a second time.
func (r *run) find(ctx context.Context, key string) (*store.Artifact, error) {
	if a := r.p.memo.artifacts[key]; a != nil {
		if same, err := r.s.Recheck(a); same || err != nil {
			return a, err
		}
	}
	return r.s.Find(ctx, key)
}

// failed logs why a run ended and says it in the user's terms.
func (r *run) failed(ctx context.Context, stage string, err error) error {
	event := "failed"
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		event, err = "interrupted", ErrInterrupted
	}
	if stage != "" && event == "failed" {
		err = fmt.Errorf("stage %s: %w", stage, err)
	}
	return errors.Join(err, r.s.Log(store.Event{Event: event, Stage: stage, Note: err.Error()}))
}

// assets unpacks the files of a built-in recipe where they are not there yet.
func (r *run) assets(ctx context.Context) error {
	p := r.p
	var err error
	if p.assets, err = p.r.assetsKey(); err != nil || p.assets == "" {
		return err
	}
	a, err := r.s.Find(ctx, p.assets)
	if err != nil && !errors.Is(err, store.ErrDamaged) {
		return err
	}
	if a == nil {
		d, err := r.s.Begin(assetsLabel, p.assets)
		if err != nil {
			return err
		}
		if a, err = p.r.unpack(d, p.assets); err != nil {
			return err
		}
	}
	p.r.dir, err = filepath.Abs(a.Path)
	return err
}

// stage makes one artifact, or takes the one that is there.
func (r *run) stage(ctx context.Context, s *PlanStage) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.link(s)
	a := s.found
	if a == nil { // an earlier stage of this run may have been the same
		var err error
		if a, err = r.s.Find(ctx, s.Key); err != nil && !errors.Is(err, store.ErrDamaged) {
			return err
		}
	}
	if a != nil && s.outdated(a) { // its input was made again, and differently
		if s.found != nil {
			r.p.o.note("%s: what it was made from came out differently, so it is made again", s.Name)
		}
		a = nil
	}
	reused := a != nil
	if reused {
		r.p.o.note("%s: reused %s", s.Name, a.Path)
	} else {
		var err error
		if a, err = r.make(ctx, s); err != nil {
			return err
		}
		r.p.o.note("%s: %s in %s, %s", s.Name, report.Bytes(a.Payload()), report.Duration(a.Manifest.Seconds), a.Path)
	}
	event := map[bool]string{true: "reuse", false: "done"}[reused]
	if err := r.s.Log(store.Event{Event: event, Stage: s.Name, Key: s.Key, Digest: a.Digest(), Seconds: a.Manifest.Seconds}); err != nil {
		return err
	}
	r.done[s.Name] = a
	m := r.p.models[s.Name]
	m.Path, m.Digest, m.Bytes, m.Forecast = a.Path, a.Digest(), a.Payload(), nil
	r.out.Artifacts = append(r.out.Artifacts, Artifact{s.Name, s.Kind, a.Path, a.Digest(), a.Payload(), reused, a.Manifest.Seconds})
	return nil
}

// link fills in the digests of inputs that were not there when the run was planned.
func (r *run) link(s *PlanStage) {
	for i := range s.inputs {
		if m := r.p.models[s.inputs[i].Name]; m != nil && s.inputs[i].Digest == "" {
			s.inputs[i].Digest = m.Digest
		}
	}
}

// make runs a stage and publishes what it wrote.
func (r *run) make(ctx context.Context, s *PlanStage) (*store.Artifact, error) {
	if err := r.s.Log(store.Event{Event: "start", Stage: s.Name, Key: s.Key}); err != nil {
		return nil, err
	}
	dir, err := r.s.Begin(s.Name, s.Key)
	if err != nil {
		return nil, err
	}
	defer dir.Abort()
	j := &Job{Name: s.Name, In: s.in, Refs: maps.Clone(s.refs), Seed: s.start(), dir: dir}
	j.scratch = func() (*store.Scratch, error) { return r.s.Scratch(s.Name, s.Key) }
	j.note = func(line string) { r.p.o.note("%s: %s", s.Name, line) }
	debug.FreeOSMemory() // what the stage before left is not this one's
	peak.Reset()
	began := time.Now()
	if err := work(progress.With(ctx, prefixed{ctx, s.Name}), s.step.Settings, j); err != nil {
		return nil, s.explain(err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.peaks[s.Name] = peak.Bytes()
	a, err := dir.Commit(store.Manifest{
		Pare: version.String(), Name: s.Name, Key: s.Key, Stage: s.Kind, Settings: s.settings, Seed: s.step.Seed,
		Inputs: s.inputs, Lineage: r.lineage(s), Started: began, Seconds: time.Since(began).Seconds(),
	})
	if err != nil {
		return nil, err
	}
	if j.work != nil {
		return a, j.work.s.Remove()
	}
	return a, nil
}

// explain points an error about a setting at its line.
func (s *PlanStage) explain(err error) error {
	if strict.IsBad(err) {
		return s.step.settings.At(err)
	}
	return err
}

// prefixed is a progress sink that puts the stage's name before that of its tasks.
type prefixed struct {
	ctx  context.Context // with the sink of the user
	name string
}

// Start implements progress.Sink.
func (p prefixed) Start(name, unit string, total int64) progress.Task {
	return progress.Start(p.ctx, p.name+": "+name, unit, total)
}

// work runs a stage, whose panics are its own failure and not that of the whole process.
func work(ctx context.Context, s Stage, j *Job) (err error) {
	defer func() {
		if x := recover(); x != nil {
			slog.Debug("a stage panicked", "stage", j.Name, "stack", string(debug.Stack()))
			err = fmt.Errorf("internal error: %v", x)
		}
	}()
	return s.Run(ctx, j)
}

// lineage tells how the input of a stage was made.
func (r *run) lineage(s *PlanStage) []store.Step {
	a := r.done[s.From]
	if a == nil {
		return nil
	}
	m := a.Manifest
	return append(slices.Clone(m.Lineage), store.Step{Name: m.Name, Stage: m.Stage, Settings: m.Settings, Seed: m.Seed, Digest: m.Digest})
}
