package recipes

import (
	"context"

	"github.com/parelm/pare/distill"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model"
)

// cachePlan is the forecast of a stage that makes a cached teacher.
type cachePlan struct{}

// taught is a distill stage's teacher and what has to be closed after it.
type taught struct {
	teacher distill.Teacher
	close   func()
	cached  bool // it brings its own text
}

// open opens the teacher that a stage names: a model, a cached teacher, or a server.
func (s *distillStage) open(ctx context.Context, j *Job, student *model.Model) (t taught, err error) {
	t.close = func() {}
	if s.Remote != nil {
		t.teacher, err = distill.NewRemote(ctx, student, *s.Remote, j.Note)
		return t, err
	}
	if s.Teacher == "" {
		return t, nil
	}
	ref := j.Refs[s.Teacher]
	if path := ref.cachePath(); path != "" {
		f, err := distill.OpenCache(path)
		if err != nil {
			return t, err
		}
		t = taught{f.Teacher(), func() { f.Close() }, true}
		if err := f.Compatible(student); err != nil {
			t.close()
			return t, err
		}
		return t, nil
	}
	m, err := ref.open()
	if err != nil {
		return t, err
	}
	if err = distill.Compatible(m, student); err == nil {
		t.teacher, err = distill.Live(ctx, m)
	}
	if err != nil {
		m.Close()
		return t, err
	}
	t.close = func() { m.Close() }
	return t, nil
}

// planned checks the teacher of a plan and returns the model that will run beside the student, nil where none does.
func (s *distillStage) planned(p *Planning) (*model.Model, error) {
	switch {
	case s.Teacher != "" && s.Remote != nil:
		return nil, strict.Bad("remote", "teacher names a model, remote a server: choose one")
	case s.Teacher == "":
		return nil, nil
	}
	ref := p.Refs[s.Teacher]
	if _, cache := ref.Forecast.(cachePlan); cache || ref.cachePath() != "" {
		return nil, nil
	}
	return ref.open()
}
