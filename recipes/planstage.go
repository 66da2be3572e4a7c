package recipes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"

	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/internal/version"
	"github.com/parelm/pare/model/tensor"
)

// stage resolves one step: its models and files, and its key. It returns nothing where a model is missing because the stage
// that makes it has an error.
func (p *Plan) stage(ctx context.Context, w *workspace, step *Step, data map[string][]string) (s *PlanStage, err error) {
	s = &PlanStage{Name: step.Name, Kind: step.Kind, From: step.From, step: step, refs: map[string]*Model{}}
	if s.settings, err = settingsJSON(step.Settings); err != nil {
		return nil, err
	}
	var parts []string // what the key sees of the inputs: content for what is given, keys for what will be made
	use := func(role string, m *Model) {
		s.inputs = append(s.inputs, store.Input{Role: role, Name: m.Name, Digest: m.Digest})
		parts = append(parts, role+" "+p.identity(m))
	}
	if s.From != "" {
		if s.in = p.models[s.From]; s.in == nil {
			return nil, nil
		}
		use("model", s.in)
	}
	for _, f := range step.fields("ref") {
		for i, ref := range f.texts() {
			if ref == "" {
				continue
			}
			m := p.models[ref]
			if m == nil && isPath(ref) {
				if m, err = w.model(ctx, f.node(i), ref, ref); err != nil {
					return nil, err
				}
				p.models[ref] = m
				p.inputs = append(p.inputs, input{f.Key, ref, m.Path, m.Digest, m.Bytes})
			}
			if m == nil {
				return nil, nil
			}
			s.refs[ref] = m
			use(fmt.Sprintf("%s[%d]", f.Key, i), m)
		}
	}
	files, err := p.files(ctx, w, step, data)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		s.inputs = append(s.inputs, store.Input{Role: f.role, Name: f.name, Digest: f.digest})
		parts = append(parts, f.role+" "+f.digest)
	}
	s.Key = key(s, parts)
	s.Path = filepath.Join(p.Out, store.DirName(s.Name, s.Key))
	return s, nil
}

// identity is how keys see a model: by content where it is given, by its key where a stage makes it. So all keys are
// known before anything has run, and a reused artifact is still held to the digests of what it was made from.
func (p *Plan) identity(m *Model) string {
	for _, s := range p.Stages {
		if s.Name == m.Name {
			return "made by " + s.Key
		}
	}
	return m.Digest
}

// key digests everything that makes a stage's artifact what it is.
func key(s *PlanStage, inputs []string) string {
	data, err := json.Marshal(struct {
		Pare, Kind string
		Settings   json.RawMessage
		Inputs     []string
		Seed       *uint64
	}{version.String(), s.Kind, s.settings, inputs, s.step.Seed})
	if err != nil {
		panic(err) // settings were marshalled before
	}
	sum := sha256.Sum256(append([]byte("pare stage 1\n"), data...))
	return hex.EncodeToString(sum[:])
}

// settingsJSON returns all settings of a stage that its result depends on, as the recipe writes them and with every default,
// sorted by key.
func settingsJSON(s Stage) (json.RawMessage, error) {
	all := map[string]any{}
	for _, f := range strict.Fields(structs(s)...) {
		if f.Tag.Get("result") != "same" {
			all[f.Key] = strict.Plain(f.Value)
		}
	}
	return json.Marshal(all)
}

// files makes the files of a step's settings absolute, fills in the recipe's data where the step has none of its own,
// and digests them.
func (p *Plan) files(ctx context.Context, w *workspace, step *Step, data map[string][]string) ([]input, error) {
	var found []input
	var errs []error
	add := func(role, name, path string) error {
		e, err := p.memo.file(ctx, path)
		if err != nil {
			return err
		}
		in := input{role, name, path, e.SHA256, e.Bytes}
		if !slices.ContainsFunc(p.inputs, func(have input) bool { return have.path == path }) {
			p.inputs = append(p.inputs, in)
		}
		found = append(found, in)
		return nil
	}
	for _, f := range step.fields("data") {
		role := f.Tag.Get("data")
		files := data[role]
		if given := f.texts(); len(given) > 0 {
			files = nil
			for i, pattern := range given {
				more, err := w.files(f.node(i), pattern)
				errs = append(errs, err)
				files = append(files, more...)
			}
		}
		f.Value.Set(f.Value.Slice(0, 0))
		if len(files) > 0 {
			f.set(files)
		}
		for _, path := range files {
			if err := strict.Join(errs...); err == nil {
				errs = append(errs, add(f.Key, w.rel(path), path))
			}
		}
	}
	for _, f := range step.fields("path") {
		texts := slices.Clone(f.texts())
		for i, name := range texts {
			if name == "" {
				continue
			}
			path, err := w.file(f.node(i), name)
			if err == nil {
				texts[i] = path
				err = add(fmt.Sprintf("%s[%d]", f.Key, i), name, path)
			}
			errs = append(errs, err)
		}
		if len(texts) > 0 {
			f.set(texts)
		}
	}
	if r, ok := step.Settings.(Reader); ok && strict.Join(errs...) == nil {
		more, err := r.Reads()
		errs = append(errs, err)
		for i, path := range more {
			if path, err = w.file(step.settings, path); err == nil {
				err = add(fmt.Sprintf("reads[%d]", i), w.rel(path), path)
			}
			errs = append(errs, err)
		}
	}
	return found, strict.Join(errs...)
}

// rel shortens a path to what a reader of the recipe recognizes.
func (w *workspace) rel(path string) string {
	if rel, err := filepath.Rel(w.dir, path); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return path
}

// lookup finds the stage's artifact, which counts only if it was made from the inputs of now.
func (p *Plan) lookup(s *PlanStage, find func(key string) (*store.Artifact, error)) error {
	a, err := find(s.Key)
	if errors.Is(err, store.ErrDamaged) {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s is made again: %v", s.Name, err))
		return nil
	}
	if err != nil || a == nil {
		return err
	}
	if s.outdated(a) {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s is made again: what it was made from came out differently since", s.Name))
		return nil
	}
	s.Cached, s.found, s.Path = true, a, a.Path
	return nil
}

// outdated reports whether an artifact was made from other inputs than those known now.
func (s *PlanStage) outdated(a *store.Artifact) bool {
	had := a.Manifest.Inputs
	if len(had) != len(s.inputs) {
		return true
	}
	for i, in := range s.inputs {
		if in.Digest != "" && in.Digest != had[i].Digest {
			return true
		}
	}
	return false
}

// estimate asks the stage what it will cost.
func (p *Plan) estimate(ctx context.Context, s *PlanStage) (err error) {
	at := s.step.settings
	defer func() {
		if x := recover(); x != nil {
			err = at.Errorf(tensor.ErrInvalid, "internal error while planning: %v\n%s", x, debug.Stack())
		}
	}()
	e, err := s.step.Settings.Plan(ctx, &Planning{Name: s.Name, In: s.in, Seed: s.start(), Refs: maps.Clone(s.refs), Kernel: p.o.Kernel})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var fe *tensor.FileError
		if errors.As(err, &fe) && fe.File != "" {
			return fmt.Errorf("%s: %w", s.Name, err) // it says itself which file
		}
		return at.At(err)
	}
	s.forecast, s.Details = e, e.Details
	s.Output, s.PeakMemory, s.Seconds = e.OutputBytes, e.PeakMemory, e.Seconds
	p.warn(s, e.Warnings)
	if s.Cached {
		s.Output, s.PeakMemory, s.Seconds = s.found.Payload(), 0, 0
		return nil
	}
	p.Disk += e.OutputBytes
	p.Memory = max(p.Memory, e.PeakMemory)
	p.Seconds += e.Seconds
	return nil
}
