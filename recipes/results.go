package recipes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/internal/version"
	"github.com/parelm/pare/model/tensor"
)

// factsLimit bounds what is read of one stage's facts; per-tensor tables of the largest models have a few megabytes.
const factsLimit = 64 << 20

// report gathers what the stages found out, judges it, and writes the pages.
func (r *run) report() error {
	rep, err := r.gather()
	if err != nil {
		return err
	}
	if v := judge(r.p.r.Gate, rep); v != nil {
		r.out.Gate = v
		rep.Gate = &report.Gate{OK: v.OK}
		for _, c := range v.Checks {
			rep.Gate.Checks = append(rep.Gate.Checks, report.Check(c))
		}
	}
	r.out.Headline = rep.Headline()
	pages, err := rep.Pages()
	if err != nil {
		return err
	}
	for _, page := range pages {
		if err := r.s.WriteFile(page.Name, page.Data); err != nil {
			return err
		}
	}
	path := func(name string) string {
		for _, page := range pages {
			if page.Name == name {
				return filepath.Join(r.p.Out, name)
			}
		}
		return ""
	}
	r.out.Report = Files{MD: path("report.md"), HTML: path("report.html"), JSON: path("report.json"), Plot: path("plot.svg"), JUnit: path("junit.xml")}
	text, err := r.p.r.Resolved()
	if err != nil {
		return err
	}
	return r.s.WriteFile("recipe.yaml", text)
}

// gather builds the report from the plan and from the facts beside the artifacts.
func (r *run) gather() (*report.Report, error) {
	p := r.p
	rep := &report.Report{
		Format: 1, Title: p.Recipe, Description: p.r.Description, Generated: time.Now().UTC().Truncate(time.Second),
		Pare: version.String(), Machine: report.ThisMachine(), Warnings: p.Warnings,
	}
	rep.Machine.Kernel = p.o.Kernel
	if p.base != nil {
		rep.Baseline = Base
		rep.Models = append(rep.Models, report.Model{Name: Base, Path: p.base.Path, Digest: p.base.Digest, Bytes: p.base.Bytes})
	}
	for _, in := range p.inputs {
		rep.Inputs = append(rep.Inputs, report.Input{Role: in.role, Name: in.name, Bytes: in.bytes, Digest: in.digest})
	}
	for i := range p.Stages {
		s := &p.Stages[i]
		a := r.done[s.Name]
		line := report.Stage{Name: s.Name, Kind: s.Kind, Key: s.Key, Digest: a.Digest(), Path: a.Path, Reused: r.out.Artifacts[i].Reused,
			Seconds: a.Manifest.Seconds, Bytes: a.Payload(), PeakMemory: r.peaks[s.Name]}
		if !line.Reused {
			line.EstimatedSeconds, line.EstimatedBytes, line.EstimatedMemory = s.forecast.Seconds, s.forecast.OutputBytes, s.forecast.PeakMemory
		}
		rep.Stages = append(rep.Stages, line)
		if k := kinds[s.Kind]; !k.Measures && !k.Aside {
			rep.Add(report.Facts{Models: []report.Model{{Name: s.Name, Stage: s.Kind, From: s.From, Path: a.Path, Digest: a.Digest(), Bytes: a.Payload()}}})
			if rep.Baseline == "" {
				rep.Baseline = s.Name
			}
		}
		for _, name := range []string{report.FactsFile, report.TimingsFile} {
			f, err := readFacts(p.o.fsys, a, name)
			if err != nil {
				return nil, err
			}
			rep.Add(f)
		}
	}
	text, err := p.r.Resolved()
	rep.Recipe = string(text)
	return rep, err
}

// readFacts reads the facts that a stage left in its artifact, none where there is no such file.
func readFacts(fsys fsx.FS, a *store.Artifact, name string) (report.Facts, error) {
	var f report.Facts
	path := filepath.Join(a.Path, name)
	data, err := fsx.ReadFile(fsys, path, factsLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		if e := json.Unmarshal(data, &f); e != nil {
			err = tensor.Errorf(tensor.ErrCorrupt, path, "", "is not what a stage writes: %v", e)
		}
	}
	return f, err
}

// Resolved returns the recipe with every default and every change of the command line written out.
func (r *Recipe) Resolved() ([]byte, error) {
	fresh, err := r.fresh()
	if err != nil {
		return nil, err
	}
	var top strict.Mapping
	for _, f := range strict.Fields(fresh) {
		switch {
		case f.Key == "stages":
			var steps []*strict.Mapping
			for _, s := range fresh.Stages {
				var step, settings strict.Mapping
				step.Add("name", s.Name)
				if s.From != "" {
					step.Add("from", s.From)
				}
				if s.Seed != nil && s.Seed != &fresh.Seed {
					step.Add("seed", *s.Seed)
				}
				settings.AddFields(false, structs(s.Settings)...)
				step.Add(s.Kind, &settings)
				steps = append(steps, &step)
			}
			top.Add(f.Key, steps)
		case f.Key == "gate":
			var gates []*strict.Mapping
			for i := range fresh.Gate {
				var g strict.Mapping
				g.AddFields(true, &fresh.Gate[i])
				gates = append(gates, &g)
			}
			if len(gates) > 0 {
				top.Add(f.Key, gates)
			}
		case f.Key == "data":
			var data strict.Mapping
			data.AddFields(true, &fresh.Data)
			top.Add(f.Key, &data)
		case !f.Value.IsZero() || f.Key == "seed":
			top.Add(f.Key, strict.Plain(f.Value))
		}
	}
	text, err := top.Bytes()
	if err != nil {
		return nil, fmt.Errorf("recipe %s: %w", r.name, err)
	}
	return text, nil
}
