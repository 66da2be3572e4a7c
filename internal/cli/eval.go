package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/distill"
	"github.com/parelm/pare/eval"
	"github.com/parelm/pare/internal/measure"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/runtime"
)

func init() {
	register(&cli.Command{
		Name: "eval", Usage: "measure perplexity, divergence and accuracy",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
Perplexity is measured on --text or --ids, cut into windows; the protocol is printed with it, for two perplexities
compare only under the same one. With --baseline the divergence of the two models' predictions and their agreement
on the likeliest token are measured too. A task is a file of questions, one JSON object a line, of one of these
shapes: ` + eval.Kinds() + `;
or a YAML file that says how lines of another shape become questions (pare recipes help task).

examples
  pare eval ./model --text heldout.txt
  pare eval q4.gguf --baseline ./model --text heldout.txt --task arc=arc_easy.jsonl
  pare eval q4.gguf --text heldout.txt --activations ggml     # what llama.cpp will find
  pare eval q4.gguf --baseline answers.cache
  pare eval ./model --ids ids.json --window 256 --json | jq .perplexity`,
		Flags: append(suiteFlags(), &cli.StringFlag{Name: "baseline", Usage: "compare with this `MODEL`, or with a file that pare teacher wrote, over its text"},
			&cli.BoolFlag{Name: "bench", Usage: "measure speed and memory too"}),
		Action: action(evaluate),
	})
}

// suiteFlags say what to measure.
func suiteFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "text", Usage: "measure perplexity on the text `FILE`; a directory or a glob names many"},
		&cli.StringFlag{Name: "ids", Usage: "measure perplexity on the token ids of `FILE`, a JSON array"},
		&cli.IntFlag{Name: "window", Usage: "cut the text into windows of `N` ids", DefaultText: "the model's context, at most 2048"},
		&cli.IntFlag{Name: "stride", Usage: "begin a window every `N` ids and score what the one before did not", DefaultText: "the window"},
		&cli.IntFlag{Name: "max-tokens", Usage: "use the first `N` ids of the text", DefaultText: "all"},
		&cli.StringSliceFlag{Name: "task", Usage: "answer the questions of `[NAME=]FILE`: JSON lines, or a task in YAML"},
		&cli.StringFlag{Name: "activations", Usage: "round activations as `WHO` does: scheme, for programs that load W8A8 and FP8, or ggml, for llama.cpp and ollama",
			DefaultText: "scheme"},
		&cli.IntFlag{Name: "max-items", Usage: "answer the first `N` questions of each task", DefaultText: "all"},
	}
}

// suite reads them.
func suite(c *cli.Context) (*measure.Suite, error) {
	for _, name := range []string{"window", "stride", "max-tokens", "max-items"} {
		if n := c.Int(name); n < 0 || c.IsSet(name) && n == 0 {
			return nil, usage("--%s %d: want at least 1", name, n)
		}
	}
	s := &measure.Suite{
		Source: eval.Source{Text: c.StringSlice("text"), IDs: c.String("ids"), Window: c.Int("window"), Stride: c.Int("stride"),
			MaxTokens: c.Int("max-tokens")},
		Limit: c.Int("max-items"),
	}
	if len(s.Source.Text) > 0 && s.Source.IDs != "" {
		return nil, usage("--text and --ids: give one of them")
	}
	if a := c.String("activations"); c.IsSet("activations") {
		var err error
		if s.Rounding, err = runtime.ParseRounding(a); err != nil {
			return nil, usage("--activations: %v", err)
		}
	}
	s.Perplexity = len(s.Source.Text) > 0 || s.Source.IDs != ""
	s.KLD = s.Perplexity
	seen := map[string]bool{}
	for _, spec := range c.StringSlice("task") {
		name, path, ok := strings.Cut(spec, "=")
		if !ok {
			var err error
			if name, err = eval.TaskName(spec); err != nil {
				return nil, err
			}
			path = spec
		}
		if name == "" || path == "" || seen[name] {
			return nil, usage("--task %s: want NAME=FILE.jsonl, each name once", spec)
		}
		seen[name] = true
		s.Tasks = append(s.Tasks, measure.Task{Name: name, Path: path})
	}
	return s, nil
}

// measured is what eval answers, and a row of compare.
type measured struct {
	Name          string                 `json:"name"`
	Path          string                 `json:"path"`
	Bytes         int64                  `json:"bytes"`
	Parameters    int64                  `json:"parameters"`
	BitsPerWeight float64                `json:"bits_per_weight"`
	Format        string                 `json:"format"`
	Perplexity    *perplexity            `json:"perplexity,omitempty"`
	KLD           *report.KLD            `json:"kld,omitempty"`
	Top1          *float64               `json:"top1_agreement,omitempty"`
	Tasks         map[string]report.Task `json:"tasks,omitempty"`
	Prefill       *report.Speed          `json:"prefill,omitempty"`
	Decode        *report.Speed          `json:"decode,omitempty"`
	PeakMemory    int64                  `json:"peak_memory_bytes,omitempty"`
	Pairs         []report.Comparison    `json:"versus_baseline,omitempty"`
}

type perplexity struct {
	Value    float64 `json:"value"`
	Stderr   float64 `json:"stderr"`
	Tokens   int64   `json:"tokens"`
	NLL      float64 `json:"nll"` // total, in nats
	Protocol string  `json:"protocol"`
}

func answer(r *measure.Row) *measured {
	m := &measured{Name: r.Name, Path: r.Path, Bytes: r.Bytes, Parameters: r.Parameters, BitsPerWeight: r.BitsPerWeight, Format: r.Format,
		KLD: r.KLD, Top1: r.Top1Agreement, Tasks: r.Tasks, Prefill: r.Prefill, Decode: r.Decode, PeakMemory: r.PeakMemory, Pairs: r.Pairs}
	if p := r.Perplexity; p != nil {
		m.Perplexity = &perplexity{p.Value, p.Stderr, p.Tokens, r.NLL, p.Protocol}
	}
	return m
}

// row measures one model of the command line. The subject is the caller's to close.
func row(ctx context.Context, e *env, s *measure.Suite, base *measure.Subject, ref, name string) (*measure.Row, *measure.Subject, error) {
	m, err := openModel(ctx, e, ref)
	if err != nil {
		return nil, nil, err
	}
	bytes, path := m.FileBytes(), m.Path
	sub, err := s.Load(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	r, err := s.Run(ctx, name, base, sub)
	if err != nil {
		sub.Close()
		return nil, nil, fmt.Errorf("%s: %w", ref, err)
	}
	r.Bytes, r.Path = bytes, path
	return r, sub, nil
}

func evaluate(ctx context.Context, e *env, c *cli.Context) error {
	ref, err := one(c, "one MODEL")
	if err != nil {
		return err
	}
	s, err := suite(c)
	if err != nil {
		return err
	}
	if b := c.String("baseline"); distill.IsCache(b) {
		if s.Answers, err = distill.OpenCache(b); err != nil {
			return err
		}
		defer s.Answers.Close()
	}
	if !s.Perplexity && s.Answers == nil && len(s.Tasks) == 0 && !c.Bool("bench") {
		return usage("%s wants something to measure: --text FILE, --ids FILE, --task NAME=FILE.jsonl or --bench", c.Command.HelpName)
	}
	var base *measure.Subject
	var about *measure.Row
	if b := c.String("baseline"); b != "" && s.Answers == nil {
		if about, base, err = row(ctx, e, s, nil, b, "baseline"); err != nil {
			return err
		}
		defer base.Close()
	}
	r, m, err := row(ctx, e, s, base, ref, filepath.Base(ref))
	if err != nil {
		return err
	}
	path := r.Path
	m.Close()
	if c.Bool("bench") {
		if err := speeds(ctx, path, r); err != nil {
			return err
		}
	}
	v := struct {
		*measured
		Baseline *measured `json:"baseline,omitempty"`
		Warnings []string  `json:"warnings,omitempty"`
	}{measured: answer(r), Warnings: r.Warnings}
	if about != nil {
		v.Baseline = answer(about)
	}
	return e.print(v, func(w io.Writer) { printEval(w, r, about) })
}

// speeds measures what is measured by the clock.
func speeds(ctx context.Context, path string, r *measure.Row) error {
	b, err := eval.Bench(ctx, path, 128, 64, 3)
	if err != nil {
		return err
	}
	r.LoadSeconds, r.PeakMemory = b.LoadSeconds, b.PeakMemory
	r.Prefill = &report.Speed{TokensPerSecond: b.Prefill.TokensPerSecond, Stddev: b.Prefill.StdDev, Tokens: b.Prefill.Tokens}
	r.Decode = &report.Speed{TokensPerSecond: b.Decode.TokensPerSecond, Stddev: b.Decode.StdDev, Tokens: b.Decode.Tokens}
	return nil
}

func printEval(w io.Writer, r, base *measure.Row) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("model", "%s, %s parameters, %s, %.2f bits a weight", report.Bytes(r.Bytes), report.Count(r.Parameters), r.Format, r.BitsPerWeight)
	if p := r.Perplexity; p != nil {
		line("perplexity", "%.4f ± %.4f over %d tokens", p.Value, p.Stderr, p.Tokens)
		if base != nil && base.Perplexity != nil {
			line("baseline", "%.4f ± %.4f", base.Perplexity.Value, base.Perplexity.Stderr)
		}
	}
	for _, p := range r.Pairs {
		line("difference", "%s %+.4f, 95 %% interval %+.4f to %+.4f: %s", p.Metric, p.Difference, p.Low, p.High, p.Verdict())
	}
	if r.KLD != nil {
		line("divergence", "mean %.5f nats, 99th percentile %.4f, largest %.4f", r.KLD.Mean, r.KLD.P99, r.KLD.Max)
		line("agreement", "%.2f %% ± %.2f %% of tokens", 100**r.Top1Agreement, 100*r.Top1Stderr)
	}
	for _, name := range sorted(keys(r.Tasks)) {
		t := r.Tasks[name]
		line(name, "%s %.2f %% ± %.2f %% of %d", t.Metric, 100*t.Value, 100*t.Stderr, t.N)
	}
	if r.Prefill != nil {
		line("speed", "reads %.0f, writes %.1f tokens a second; %s of memory", r.Prefill.TokensPerSecond, r.Decode.TokensPerSecond, report.Bytes(r.PeakMemory))
	}
	for _, p := range r.Protocol {
		fmt.Fprintln(w, p)
	}
	for _, x := range r.Warnings {
		fmt.Fprintln(w, "warning:", x)
	}
}
