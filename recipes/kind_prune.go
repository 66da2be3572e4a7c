package recipes

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/prune"
)

func init() {
	Register(Kind{Name: "prune", Sources: []fs.FS{source, prune.Source}, New: func() Stage { return &pruneStage{Calibration: defaultCalibration} }})
}

// pruneStage takes layers, neurons, heads, channels or tokens away and lets the remaining weights make up for them. The result
// is a Hugging Face checkpoint of the same family with smaller sizes.
type pruneStage struct {
	prune.Settings
	Calibration
}

// UsesSeed: samples are placed by the seed.
func (s *pruneStage) UsesSeed() bool { return true }

func (s *pruneStage) Plan(ctx context.Context, p *Planning) (Estimate, error) {
	m, err := p.In.open()
	if err != nil {
		return Estimate{}, err
	}
	defer m.Close()
	small, err := s.Outline(ctx, m)
	if err != nil {
		return Estimate{}, err
	}
	out, err := small.SizeHF(ctx)
	if err != nil {
		return Estimate{}, err
	}
	layer, outside := largestLayer(m)
	passes := 0.0
	for _, ratio := range []float64{s.Depth, max(s.FFN, s.Heads), s.Hidden} {
		if ratio != 0 && ratio != 1 {
			passes++
		}
	}
	return Estimate{
		OutputBytes: out, Model: small,
		PeakMemory: overhead + s.streams(m) + max(4*layer, outside),
		Seconds:    seconds(2 * passes * forward(m) * float64(s.tokens(m))),
		Details:    []string{fmt.Sprintf("%s parameters of %s", report.Count(small.Graph.Parameters()), report.Count(m.Graph.Parameters()))},
	}, nil
}

func (s *pruneStage) Run(ctx context.Context, j *Job) error {
	m, err := j.In.open()
	if err != nil {
		return err
	}
	defer m.Close()
	var samples [][]int32
	if s.NeedsSamples() {
		if samples, err = s.samples(ctx, m, j.Seed); err != nil {
			return err
		}
	}
	s.Seed = j.Seed
	small, r, err := prune.Run(ctx, m, samples, s.Settings)
	if err != nil {
		return err
	}
	if err := j.save(ctx, small, false, ""); err != nil {
		return err
	}
	t := report.Table{Title: j.Name + ": what was taken away", Columns: []string{"what", "before", "after"}}
	t.Rows = append(t.Rows, []string{"parameters", report.Count(r.Before), report.Count(r.Parameters)})
	if len(r.Layers) > 0 {
		t.Rows = append(t.Rows, []string{"layers", fmt.Sprint(len(m.Config.Layers)),
			fmt.Sprintf("%d (without %s)", len(small.Config.Layers), strings.Trim(strings.Join(strings.Fields(fmt.Sprint(r.Layers)), ", "), "[]"))})
	}
	for _, kind := range []string{"ffn", "kv_heads", "heads", "hidden", "vocab"} {
		if w, ok := r.Widths[kind]; ok {
			t.Rows = append(t.Rows, []string{kind, fmt.Sprint(w[0]), fmt.Sprint(w[1])})
		}
	}
	return j.facts(report.Facts{Models: []report.Model{describe(j.Name, formatOf(small), small)}, Tables: []report.Table{t}})
}
