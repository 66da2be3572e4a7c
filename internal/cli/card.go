package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/eval"
	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/measure"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/quantize"
)

// The model card of a quantized model: README.md in a directory, NAME-card.md beside a GGUF file. With an evaluation, which is
// made of the written files, it lies beside a directory too.

// cardTarget returns where the card beside a model goes.
func cardTarget(t store.Target) store.Target {
	t.Path = filepath.Clean(t.Path)
	if isGGUF(t.Path) {
		t.Path = strings.TrimSuffix(t.Path, filepath.Ext(t.Path))
	}
	t.Path += "-card.md"
	return t
}

// evaluation measures what was written against what it was made of, on texts, as a section of the card.
func evaluation(ctx context.Context, base, path string, texts []string) (string, error) {
	s := &measure.Suite{Source: eval.Source{Text: texts}, Perplexity: true, KLD: true}
	var rows []report.Model
	var protocol []string
	var first *measure.Subject
	for _, ref := range []string{base, path} {
		m, err := s.Open(ctx, ref)
		if err != nil {
			return "", err
		}
		defer m.Close()
		r, err := s.Run(ctx, filepath.Base(filepath.Clean(ref)), first, m)
		if err != nil {
			return "", fmt.Errorf("%s: %w", ref, err)
		}
		if first == nil {
			first = m
		}
		rows, protocol = append(rows, r.Model), append(protocol, r.Protocol...)
	}
	return report.Evaluation(rows, protocol), nil
}

// besides returns what else is written beside the model.
func besides(t store.Target, s *quantize.Settings, evaluated bool) []store.Target {
	var out []store.Target
	if s.LowRank > 0 {
		out = append(out, adapterTarget(t))
	}
	if isGGUF(t.Path) || evaluated {
		out = append(out, cardTarget(t))
	}
	return out
}

// newCard returns the card of a model that is being quantized.
func newCard(ctx context.Context, c *cli.Context, m *model.Model, t store.Target, s *quantize.Settings, a quantize.Algorithm, r *quantize.Report) (*quantize.Card, error) {
	base := filepath.Base(filepath.Clean(t.Path))
	card := &quantize.Card{Name: strings.TrimSuffix(base, filepath.Ext(base)), Base: m.Path, Format: s.Format, Algorithm: s.Algorithm, Report: r}
	if isGGUF(base) {
		card.File = base
	} else {
		card.Name = base
	}
	if r.Adapter != nil {
		card.Adapter = filepath.Base(adapterTarget(t).Path)
	}
	for _, f := range strict.Fields(s, a) {
		if !f.Value.IsZero() && f.Tag.Get("result") != "same" {
			card.Settings += fmt.Sprintf("%s: %v\n", f.Key, strict.Plain(f.Value))
		}
	}
	files, err := checkpointFiles(m.Path)
	if err != nil {
		return nil, err
	}
	if texts := c.StringSlice("calib"); len(texts) > 0 {
		found, err := corpus.Files(texts)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	if path := c.String("imatrix"); path != "" {
		files = append(files, path)
	}
	for _, path := range files {
		sum, err := digest(ctx, path)
		if err != nil {
			return nil, err
		}
		card.Inputs = append(card.Inputs, fmt.Sprintf("%s, sha256 %s", filepath.Base(path), sum))
	}
	return card, nil
}

// checkpointFiles lists the files of a checkpoint.
func checkpointFiles(path string) ([]string, error) {
	st, err := os.Stat(path)
	if err != nil || !st.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() && model.Belongs(e.Name()) {
			out = append(out, filepath.Join(path, e.Name()))
		}
	}
	return out, nil
}

// digest returns the SHA-256 of a file.
func digest(ctx context.Context, path string) (string, error) {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, _, err := fsx.SumWith(ctx, f, nil)
	return sum, err
}

// writeCard writes the card beside a GGUF file.
func writeCard(t store.Target, card *quantize.Card) error {
	f, err := cardTarget(t).File()
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.WriteAt(card.Markdown(), 0); err != nil {
		return err
	}
	return f.Commit()
}
