package recipes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/parelm/pare/distill"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model"
)

func init() {
	Register(Kind{Name: "cache", Sources: []fs.FS{source, distill.Source}, Aside: true, New: func() Stage { return &cacheStage{} }})
}

// cacheFile is the name of a cached teacher's file in its artifact.
const cacheFile = "answers.cache"

// cacheStage asks a teacher about a text once and keeps what it says, in at most 150 bytes a token: its most probable tokens and draws
// from the others. Stages of the kind distill then take this stage as their teacher, as often as they like, the tuning of scales
// included.
type cacheStage struct {
	// Teacher is the model to ask: an earlier stage, base, or a path.
	Teacher string `yaml:"teacher" ref:"model"`
	// Remote is a server to ask instead. The teacher then is a model with the same tokenizer, which is not run: the student.
	Remote *distill.Remote `yaml:"remote"`
	distill.CacheSettings
	// Train is the text; without it the recipe's data.train.
	Train []string `yaml:"train" data:"train"`
}

// UsesSeed: it starts the draws.
func (s *cacheStage) UsesSeed() bool { return true }

func (s *cacheStage) Plan(_ context.Context, p *Planning) (Estimate, error) {
	if s.Teacher == "" {
		return Estimate{}, strict.Bad("teacher", "names no model to ask")
	}
	if len(s.Train) == 0 {
		return Estimate{}, strict.Bad("train", "no text to ask about: give data.train in the recipe, or train here")
	}
	m, err := p.Refs[s.Teacher].open()
	if err != nil {
		return Estimate{}, err
	}
	defer m.Close()
	tokens, err := textTokens(s.Train)
	if err != nil {
		return Estimate{}, err
	}
	if s.MaxTokens > 0 {
		tokens = min(tokens, int64(s.MaxTokens))
	}
	e := Estimate{Model: cachePlan{}, OutputBytes: tokens * 150, PeakMemory: overhead + 8*int64(s.Length(m.Config)*m.Config.Vocab)*4 + 12*tokens,
		Details: []string{fmt.Sprintf("about %s tokens, at most 150 bytes each", report.Count(tokens))}}
	if s.Remote == nil {
		e.PeakMemory += m.Bytes()
		e.Seconds = seconds(forward(m) * float64(tokens))
	}
	return e, nil
}

// textTokens guesses how many tokens files have: English in a large vocabulary has four bytes a token, in a small one two.
func textTokens(files []string) (int64, error) {
	var bytes int64
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return 0, err
		}
		bytes += info.Size()
	}
	return bytes / 3, nil
}

func (s *cacheStage) Run(ctx context.Context, j *Job) error {
	m, err := j.Refs[s.Teacher].open()
	if err != nil {
		return err
	}
	defer m.Close()
	text, err := distill.ReadText(ctx, m, s.Train)
	if err != nil {
		return err
	}
	var t distill.Teacher
	name := s.Teacher
	if s.Remote != nil {
		name = s.Remote.URL
		t, err = distill.NewRemote(ctx, m, *s.Remote, j.Note)
	} else {
		t, err = distill.Live(ctx, m)
	}
	if err != nil {
		return err
	}
	states, err := j.Checkpoints()
	if err != nil {
		return err
	}
	f, err := j.Create(cacheFile)
	if err != nil {
		return err
	}
	s.Seed = j.Seed
	w := &sequential{f: f}
	info, err := distill.WriteCache(ctx, w, t, m, text, s.CacheSettings, distill.Options{Checkpoints: checkpoints{states}, Name: name, Note: j.Note})
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	tokens := info.Sequences * info.Length
	return j.facts(report.Facts{Tables: []report.Table{{Title: j.Name + ": cached teacher", Columns: []string{"teacher", "sequences", "tokens", "bytes a token"},
		Rows: [][]string{{info.Teacher, fmt.Sprint(info.Sequences), report.Count(int64(tokens)), fmt.Sprintf("%.1f", float64(w.at)/float64(tokens))}}}}})
}

// sequential writes a file from its start.
type sequential struct {
	f  model.SinkFile
	at int64
}

func (s *sequential) Write(p []byte) (int, error) {
	n, err := s.f.WriteAt(p, s.at)
	s.at += int64(n)
	return n, err
}

// cachePath returns the file of a cached teacher, or "" where a reference is a model.
func (m *Model) cachePath() string {
	if m == nil || m.Path == "" {
		return ""
	}
	if path := filepath.Join(m.Path, cacheFile); distill.IsCache(path) {
		return path
	}
	if distill.IsCache(m.Path) {
		return m.Path
	}
	return ""
}
