package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/eval"
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/peak"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/quantize"
	"github.com/parelm/pare/runtime"
)

func init() {
	register(&cli.Command{
		Name: "bench", Usage: "measure speed, load time and memory",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
pp512 reads a prompt of 512 random tokens, tg64 writes 64 tokens one by one, tg64@4096 does so behind 4096 others. Rates
are medians over the repetitions, after one that does not count. Writing one sequence reads all weights for every token:
GB/s counts those bytes, and the ceiling is what the same threads reach between those tokens when they only read the weights.

With --config no weights are needed: random ones of that shape. -o writes them as a GGUF file instead, for other
programs to be measured on the same.

examples
  pare bench model.gguf
  pare bench model.gguf -p 128,512 -n 64 -b 1,8 -d 0,4096 --threads 1,2 --cache q8_0
  pare bench --config config.json --format Q4_K_M
  pare bench --config config.json --format Q4_0 -o random.gguf`,
		Flags: append(outFlags("the random model of --config, as a GGUF file"),
			&cli.StringFlag{Name: "p", Aliases: []string{"n-prompt"}, Value: "512", Usage: "prompt lengths `N,N..`; 0 for none"},
			&cli.StringFlag{Name: "n", Aliases: []string{"n-gen"}, Value: "64", Usage: "how many tokens to write `N,N..`; 0 for none"},
			&cli.StringFlag{Name: "b", Aliases: []string{"batch"}, Value: "1", Usage: "how many sequences to write at once `B,B..`"},
			&cli.StringFlag{Name: "d", Aliases: []string{"depth"}, Value: "0", Usage: "how many tokens `D,D..` stand before those that are written"},
			&cli.StringFlag{Name: "cache", Value: "f16", Usage: "keep keys and values as `T`: f32, f16, bf16 or q8_0"},
			&cli.IntFlag{Name: "r", Aliases: []string{"repetitions"}, Value: 5, Usage: "repetitions `R`"},
			&cli.StringFlag{Name: "threads", Usage: "how many threads `N,N..` to compute with", DefaultText: "all cores"},
			&cli.StringFlag{Name: "config", Usage: "measure random weights of the shape of this config.json `FILE`"},
			&cli.StringFlag{Name: "format", Value: "Q4_K_M", Usage: "their format `F`"},
		),
		Action: action(bench),
	})
}

// benchResult is one line of the table. The rate in bytes, the ceiling and the share of it are those of reading weights while one
// sequence is written.
type benchResult struct {
	Test            string  `json:"test"`
	Threads         int     `json:"threads"`
	Batch           int     `json:"batch"`
	Depth           int     `json:"depth"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	Stddev          float64 `json:"stddev"`
	GBPerSecond     float64 `json:"gb_per_second,omitempty"`
	Ceiling         float64 `json:"ceiling_gb_per_second,omitempty"`
	OfCeiling       float64 `json:"of_ceiling,omitempty"` // the median token's share
}

// benchmark is what the verb answers.
type benchmark struct {
	Model       string              `json:"model"`
	Format      string              `json:"format"`
	Bytes       int64               `json:"bytes"`
	Results     []benchResult       `json:"results"`
	LoadSeconds float64             `json:"load_seconds"`
	FirstToken  float64             `json:"first_token_seconds"` // from opening the file
	PeakMemory  int64               `json:"peak_memory_bytes"`
	Kernel      string              `json:"kernel"`
	Kernels     []runtime.KernelUse `json:"kernels"`
	TokenBytes  int64               `json:"bytes_per_token"` // of weights, read to write one token
}

// benchPlan is what to measure.
type benchPlan struct{ prompts, writes, batches, depths, threads []int }

// counts reads a list of numbers.
func counts(c *cli.Context, flag string, least int) ([]int, error) {
	var out []int
	for _, s := range strings.Split(c.String(flag), ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < least {
			return nil, usage("%s %s: want numbers from %d on, separated by commas", flagName(flag), c.String(flag), least)
		}
		out = append(out, n)
	}
	return out, nil
}

func (p *benchPlan) read(c *cli.Context) error {
	p.threads = []int{par.Threads()}
	for _, f := range []struct {
		flag  string
		least int
		to    *[]int
	}{{"p", 0, &p.prompts}, {"n", 0, &p.writes}, {"b", 1, &p.batches}, {"d", 0, &p.depths}, {"threads", 1, &p.threads}} {
		if f.flag == "threads" && c.String(f.flag) == "" {
			continue
		}
		n, err := counts(c, f.flag, f.least)
		if err != nil {
			return err
		}
		*f.to = n
	}
	if c.Int("r") < 1 {
		return usage("-r %d: want at least 1", c.Int("r"))
	}
	if slices.Max(p.prompts) == 0 && slices.Max(p.writes) == 0 {
		return usage("-p 0 and -n 0 leave nothing to measure")
	}
	return nil
}

func bench(ctx context.Context, e *env, c *cli.Context) error {
	var plan benchPlan
	if err := plan.read(c); err != nil {
		return err
	}
	open, err := benchModel(ctx, e, c)
	if err != nil {
		return err
	}
	if c.String("out") != "" {
		return benchWrite(ctx, e, c, open)
	}
	var b eval.Benchmark
	engine, err := b.Load(ctx, open, runtime.Options{Cache: c.String("cache"), Soon: true, Rounding: runtime.RoundFast})
	if err != nil {
		return err
	}
	defer engine.Model.Close()
	for _, n := range plan.prompts {
		if n > engine.Context() {
			return usage("-p %d: the model's context is %d tokens", n, engine.Context())
		}
	}
	for _, n := range plan.writes {
		for _, d := range plan.depths {
			if n+d > engine.Context() {
				return usage("-n %d behind -d %d: the model's context is %d tokens", n, d, engine.Context())
			}
		}
	}
	v := benchmark{Model: engine.Model.Path, Bytes: engine.Model.Bytes(), Results: []benchResult{}, LoadSeconds: b.LoadSeconds, FirstToken: b.FirstToken,
		Kernel: simd.Kernel()}
	format, _ := engine.Model.Format()
	v.Format = quantize.DisplayName(format)
	v.Kernels, v.TokenBytes = engine.Kernels()
	if err := v.measure(ctx, engine, &plan, c.Int("r")); err != nil {
		return err
	}
	v.PeakMemory = peak.Bytes()
	return e.print(v, v.print)
}

// measure runs the tests.
func (v *benchmark) measure(ctx context.Context, e *runtime.Engine, p *benchPlan, repetitions int) error {
	add := func(test string, t, batch, depth int, s eval.Speed) {
		r := benchResult{Test: test, Threads: t, Batch: batch, Depth: depth, TokensPerSecond: s.TokensPerSecond, Stddev: s.StdDev,
			Ceiling: s.Ceiling / 1e9, OfCeiling: s.OfCeiling}
		if r.Ceiling > 0 {
			r.GBPerSecond = s.TokensPerSecond * float64(v.TokenBytes) / 1e9
		}
		v.Results = append(v.Results, r)
	}
	defer par.SetThreads(par.Threads())
	for _, t := range p.threads {
		par.SetThreads(t)
		for _, n := range p.prompts {
			if n == 0 {
				continue
			}
			s, err := eval.Prefill(ctx, e, n, repetitions)
			if err != nil {
				return err
			}
			add(fmt.Sprintf("pp%d", n), t, 1, 0, s)
		}
		for _, n := range p.writes {
			for i := range len(p.batches) * len(p.depths) {
				batch, depth := p.batches[i/len(p.depths)], p.depths[i%len(p.depths)]
				if n == 0 {
					continue
				}
				s, err := eval.Decode(ctx, e, n, batch, depth, repetitions)
				if err != nil {
					return err
				}
				name := fmt.Sprintf("tg%d", n)
				if depth > 0 {
					name += fmt.Sprintf("@%d", depth)
				}
				add(name, t, batch, depth, s)
			}
		}
	}
	return nil
}

func (v *benchmark) print(w io.Writer) {
	rows := [][]string{{"test", "threads", "batch", "tokens/s", "GB/s", "ceiling", "reached"}}
	for _, r := range v.Results {
		row := []string{r.Test, fmt.Sprint(r.Threads), fmt.Sprint(r.Batch), fmt.Sprintf("%.2f ± %.2f", r.TokensPerSecond, r.Stddev), "", "", ""}
		if r.OfCeiling > 0 {
			row[4], row[5], row[6] = fmt.Sprintf("%.1f", r.GBPerSecond), fmt.Sprintf("%.1f", r.Ceiling), fmt.Sprintf("%.0f %%", 100*r.OfCeiling)
		}
		rows = append(rows, row)
	}
	table(w, rows)
	fmt.Fprintln(w)
	rows = [][]string{{"weights", "kernel", "size", "read per token"}}
	for _, k := range v.Kernels {
		read := "all"
		if k.Rows {
			read = "one row"
		}
		rows = append(rows, []string{k.Class, k.Kernel, report.Bytes(k.Bytes), read})
	}
	table(w, rows)
	fmt.Fprintf(w, "\n%s, %s weights, first token after %.2f s, loaded in %.2f s, at most %s of memory, %s kernels\n", v.Format, report.Bytes(v.Bytes), v.FirstToken, v.LoadSeconds, report.Bytes(v.PeakMemory), v.Kernel)
}
