package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/measure"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/version"
)

func init() {
	register(&cli.Command{
		Name: "compare", Usage: "set models side by side: a table and plots",
		ArgsUsage: "MODEL|RUN...",
		Description: modelHelp + `
RUN is the output directory of pare run: all its models are compared. Models are measured on --text, --ids and
--task, on the same items, against the first of them; without these flags the figures are those that the runs'
own reports hold.

examples
  pare compare pare-out/quickstart
  pare compare ./model q8.gguf q4.gguf --text heldout.txt -o comparison`,
		Flags: append(suiteFlags(), &cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "write plots and tables into the directory `DIR`",
			Value: filepath.Join("pare-out", "compare")}),
		Action: action(compare),
	})
}

type comparison struct {
	Rows  []*measured         `json:"rows"`
	Pairs []report.Comparison `json:"pairs"`
	Plot  string              `json:"plot"`
	Dir   string              `json:"dir"`
}

func compare(ctx context.Context, e *env, c *cli.Context) error {
	if c.NArg() == 0 {
		return usage("%s wants MODELs or RUNs", c.Command.HelpName)
	}
	s, err := suite(c)
	if err != nil {
		return err
	}
	t := store.Target{FS: fsx.OS, Path: c.String("out"), Force: true}
	for _, a := range c.Args().Slice() {
		if !strings.HasPrefix(a, "hf://") {
			t.Inputs = append(t.Inputs, a)
		}
	}
	if err := t.Check(); err != nil {
		return err
	}
	rep := &report.Report{Format: 1, Title: "comparison", Generated: time.Now().UTC().Truncate(time.Second), Pare: version.String(), Machine: report.ThisMachine()}
	rep.Machine.Kernel = simd.Kernel()
	v := comparison{Rows: []*measured{}, Pairs: []report.Comparison{}, Dir: t.Path}
	measuring := s.Perplexity || len(s.Tasks) > 0
	var rows []*measure.Row
	if measuring {
		rows, err = compareMeasured(ctx, e, s, c.Args().Slice(), rep)
	} else {
		rows, err = compareReported(c, rep)
	}
	if err != nil {
		return err
	}
	rep.Baseline = rows[0].Name
	for _, r := range rows {
		rep.Models = append(rep.Models, r.Model)
		v.Rows = append(v.Rows, answer(r))
		for _, p := range r.Pairs {
			if p.Name = r.Name; p.Baseline == "" {
				p.Baseline = rep.Baseline
			}
			rep.Pairs = append(rep.Pairs, p)
		}
	}
	v.Pairs = append(v.Pairs, rep.Pairs...)
	if v.Plot, err = writeComparison(t, rep); err != nil {
		return err
	}
	return e.print(v, func(w io.Writer) {
		printRows(w, rows)
		if len(v.Pairs) > 0 {
			fmt.Fprintln(w)
			d := report.CompareTable(v.Pairs)
			table(w, append([][]string{d.Columns}, d.Rows...))
		}
		fmt.Fprintf(w, "\nplot: %s\n", v.Plot)
	})
}

// compareMeasured measures every model against the first.
func compareMeasured(ctx context.Context, e *env, s *measure.Suite, refs []string, rep *report.Report) ([]*measure.Row, error) {
	type entry struct{ name, ref string }
	var entries []entry
	for _, ref := range refs {
		run, err := readRun(ref)
		if err != nil {
			return nil, err
		}
		if run == nil {
			entries = append(entries, entry{filepath.Base(filepath.Clean(ref)), ref})
			continue
		}
		for _, m := range run.Models {
			entries = append(entries, entry{runName(run, refs, ref, m.Name), m.Path})
		}
	}
	var rows []*measure.Row
	var base *measure.Subject
	for i, x := range entries {
		r, m, err := row(ctx, e, s, base, x.ref, unique(rows, x.name))
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
		if i == 0 {
			base = m
			defer base.Close()
		} else {
			m.Close()
		}
		rep.Add(report.Facts{Protocol: r.Protocol, Warnings: r.Warnings})
	}
	return rows, nil
}

// unique makes a name that no row has yet.
func unique(rows []*measure.Row, name string) string {
	for n, try := 2, name; ; n++ {
		taken := false
		for _, r := range rows {
			taken = taken || r.Name == try
		}
		if !taken {
			return try
		}
		try = fmt.Sprintf("%s (%d)", name, n)
	}
}

// compareReported takes the figures from the reports of runs.
func compareReported(c *cli.Context, rep *report.Report) ([]*measure.Row, error) {
	var rows []*measure.Row
	protocols := map[string]bool{}
	for _, ref := range c.Args().Slice() {
		run, err := readRun(ref)
		if err != nil {
			return nil, err
		}
		if run == nil {
			return nil, usage("%s: %s is no run with a report; to measure models give --text FILE, --ids FILE or --task NAME=FILE.jsonl", c.Command.HelpName, ref)
		}
		for _, m := range run.Models {
			if m.Perplexity != nil {
				protocols[m.Perplexity.Protocol] = true
			}
			r := &measure.Row{Model: m}
			for _, p := range run.Pairs {
				if p.Name == m.Name {
					p.Baseline = runName(run, c.Args().Slice(), ref, p.Baseline)
					r.Pairs = append(r.Pairs, p)
				}
			}
			r.Name = runName(run, c.Args().Slice(), ref, m.Name)
			if m.Perplexity != nil {
				r.NLL = m.Perplexity.NLL * float64(m.Perplexity.Tokens)
			}
			rows = append(rows, r)
		}
		rep.Add(report.Facts{Protocol: run.Protocol})
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: its report holds no models", c.Args().First())
	}
	if len(protocols) > 1 {
		return nil, fmt.Errorf("the runs measured perplexity in %d different ways; give --text FILE to measure all in one", len(protocols))
	}
	return rows, nil
}

// readRun reads the report of a run; nil where ref is no run.
func readRun(ref string) (*report.Report, error) {
	path := filepath.Join(ref, "report.json")
	data, err := fsx.ReadFile(fsx.OS, path, 64<<20)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r report.Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s: is no report of a run: %w", path, err)
	}
	return &r, nil
}

// runName names a model of a run, with the run's name where there are several.
func runName(run *report.Report, refs []string, ref, name string) string {
	if len(refs) == 1 {
		return name
	}
	return run.Title + "/" + name
}

// writeComparison publishes the pages and returns the path of the plot.
func writeComparison(t store.Target, rep *report.Report) (string, error) {
	pages, err := rep.Pages()
	if err != nil {
		return "", err
	}
	d, err := t.Dir()
	if err != nil {
		return "", err
	}
	defer d.Abort()
	plot := ""
	for _, page := range pages {
		f, err := d.Create(page.Name)
		if err != nil {
			return "", err
		}
		if _, err := f.Write(page.Data); err != nil {
			return "", err
		}
		if err := f.Close(); err != nil {
			return "", err
		}
		if page.Name == "plot.svg" || plot == "" && page.Name == "compare.svg" {
			plot = filepath.Join(t.Path, page.Name)
		}
	}
	_, err = d.Commit(store.Manifest{Pare: version.String(), Stage: "compare", Name: filepath.Base(t.Path), Started: time.Now()})
	return plot, err
}

func printRows(w io.Writer, rows []*measure.Row) {
	out := [][]string{{"model", "size", "format", "parameters", "perplexity", "divergence", "agreement"}}
	tasks := map[string]bool{}
	for _, r := range rows {
		for name := range r.Tasks {
			tasks[name] = true
		}
	}
	names := sorted(keys(tasks))
	out[0] = append(out[0], names...)
	for _, r := range rows {
		line := []string{r.Name, report.Bytes(r.Bytes), r.Format, report.Count(r.Parameters), "", "", ""}
		if p := r.Perplexity; p != nil {
			line[4] = fmt.Sprintf("%.3f ± %.3f", p.Value, p.Stderr)
		}
		if r.KLD != nil {
			line[5] = fmt.Sprintf("%.4f", r.KLD.Mean)
		}
		if r.Top1Agreement != nil {
			line[6] = fmt.Sprintf("%.1f %%", 100**r.Top1Agreement)
		}
		for _, name := range names {
			cell := ""
			if t, ok := r.Tasks[name]; ok {
				cell = fmt.Sprintf("%.1f ± %.1f %%", 100*t.Value, 100*t.Stderr)
			}
			line = append(line, cell)
		}
		out = append(out, line)
	}
	table(w, out)
}
