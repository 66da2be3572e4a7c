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
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/quantize"
)

func init() {
	register(&cli.Command{
		Name: "bench", Usage: "measure speed, load time and memory",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
pp512 reads a prompt of 512 random tokens, tg64 writes 64 tokens one by one. Rates are medians over the
repetitions, after one that does not count. With --config no weights are needed: random ones of that shape.

examples
  pare bench model.gguf
  pare bench model.gguf -p 128,512 -n 64 -b 1,4 --threads 1,2
  pare bench --config config.json --format Q4_K_M`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "p", Aliases: []string{"n-prompt"}, Value: "512", Usage: "prompt lengths `N,N..`; 0 for none"},
			&cli.StringFlag{Name: "n", Aliases: []string{"n-gen"}, Value: "64", Usage: "how many tokens to write `N,N..`; 0 for none"},
			&cli.StringFlag{Name: "b", Aliases: []string{"batch"}, Value: "1", Usage: "how many sequences to write at once `B,B..`"},
			&cli.IntFlag{Name: "r", Aliases: []string{"repetitions"}, Value: 5, Usage: "repetitions `R`"},
			&cli.StringFlag{Name: "threads", Usage: "how many threads `N,N..` to compute with", DefaultText: "all cores"},
			&cli.StringFlag{Name: "config", Usage: "measure random weights of the shape of this config.json `FILE`"},
			&cli.StringFlag{Name: "format", Value: "Q4_K_M", Usage: "their format `F`"},
		},
		Action: action(bench),
	})
}

type benchResult struct {
	Test            string  `json:"test"`
	Threads         int     `json:"threads"`
	Batch           int     `json:"batch"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	Stddev          float64 `json:"stddev"`
}

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

func bench(ctx context.Context, e *env, c *cli.Context) error {
	prompts, err := counts(c, "p", 0)
	if err != nil {
		return err
	}
	writes, err := counts(c, "n", 0)
	if err != nil {
		return err
	}
	batches, err := counts(c, "b", 1)
	if err != nil {
		return err
	}
	threads := []int{par.Threads()}
	if c.String("threads") != "" {
		if threads, err = counts(c, "threads", 1); err != nil {
			return err
		}
	}
	if c.Int("r") < 1 {
		return usage("-r %d: want at least 1", c.Int("r"))
	}
	if !slices.ContainsFunc(slices.Concat(prompts, writes), func(n int) bool { return n > 0 }) {
		return usage("-p 0 and -n 0 leave nothing to measure")
	}
	open, err := benchModel(ctx, e, c)
	if err != nil {
		return err
	}
	var b eval.Benchmark
	engine, err := b.Load(ctx, open)
	if err != nil {
		return err
	}
	defer engine.Model.Close()
	for _, n := range append(append([]int{}, prompts...), writes...) {
		if n > engine.Context() {
			return usage("-p or -n %d: the model's context is %d tokens", n, engine.Context())
		}
	}
	v := struct {
		Model       string        `json:"model"`
		Format      string        `json:"format"`
		Bytes       int64         `json:"bytes"`
		Results     []benchResult `json:"results"`
		LoadSeconds float64       `json:"load_seconds"`
		PeakMemory  int64         `json:"peak_memory_bytes"`
		Kernel      string        `json:"kernel"`
	}{Model: engine.Model.Path, Bytes: engine.Model.Bytes(), Results: []benchResult{}, LoadSeconds: b.LoadSeconds, Kernel: simd.Kernel()}
	format, _ := engine.Model.Format()
	v.Format = quantize.DisplayName(format)
	add := func(test string, n, t, batch int, f func() (eval.Speed, error)) error {
		if n == 0 {
			return nil
		}
		s, err := f()
		v.Results = append(v.Results, benchResult{fmt.Sprintf("%s%d", test, n), t, batch, s.TokensPerSecond, s.StdDev})
		return err
	}
	for _, t := range threads {
		par.SetThreads(t)
		for _, n := range prompts {
			if err := add("pp", n, t, 1, func() (eval.Speed, error) { return eval.Prefill(ctx, engine, n, c.Int("r")) }); err != nil {
				return err
			}
		}
		for _, n := range writes {
			for _, batch := range batches {
				if err := add("tg", n, t, batch, func() (eval.Speed, error) { return eval.Decode(ctx, engine, n, batch, c.Int("r")) }); err != nil {
					return err
				}
			}
		}
	}
	v.PeakMemory = peak.Bytes()
	return e.print(v, func(w io.Writer) {
		rows := [][]string{{"test", "threads", "batch", "tokens/s"}}
		for _, r := range v.Results {
			rows = append(rows, []string{r.Test, fmt.Sprint(r.Threads), fmt.Sprint(r.Batch), fmt.Sprintf("%.2f ± %.2f", r.TokensPerSecond, r.Stddev)})
		}
		table(w, rows)
		fmt.Fprintf(w, "\n%s, %s weights, loaded in %.2f s, at most %s of memory, %s kernels\n", v.Format, report.Bytes(v.Bytes), v.LoadSeconds, report.Bytes(v.PeakMemory), v.Kernel)
	})
}

// benchModel returns what opens the model to measure.
func benchModel(ctx context.Context, e *env, c *cli.Context) (func() (*model.Model, error), error) {
	config := c.String("config")
	if config == "" {
		ref, err := one(c, "one MODEL, or --config FILE")
		return func() (*model.Model, error) { return openModel(ctx, e, ref) }, err
	}
	if c.NArg() > 0 {
		return nil, usage("%s: give a MODEL or --config FILE", c.Command.HelpName)
	}
	return func() (*model.Model, error) {
		m, err := model.OpenConfig(config)
		if err != nil {
			return nil, err
		}
		return patterned(m, c.String("format"))
	}, nil
}

// patterned returns a model of m's shapes in a format, its matrices made of few random rows that repeat: encoding all of
// a large model would take longer than measuring it, and speed does not depend on the values.
func patterned(m *model.Model, format string) (*model.Model, error) {
	tensors := map[*model.Weight]*tensor.Tensor{}
	type shape struct {
		codec string
		cols  int
	}
	made := map[shape]pattern{}
	put := func(w *model.Weight, f codec.Codec) {
		t := &tensor.Tensor{Name: w.Name, Codec: f, Shape: w.Shape()}
		key := shape{f.Name(), t.Cols()}
		if _, ok := made[key]; !ok {
			const rows = 16
			x, s := make([]float32, t.Cols()), rng.New(1)
			p := pattern{row: t.RowBytes()}
			for range rows {
				for i := range x {
					x[i] = float32(0.02 * s.Normal())
				}
				b := make([]byte, p.row)
				f.Encode(b, x, nil)
				p.data = append(p.data, b...)
			}
			made[key] = p
		}
		t.Src = made[key]
		tensors[w] = t
	}
	if plain, err := codec.Lookup(strings.ToLower(format)); err == nil && slices.Contains([]string{"f32", "f16", "bf16"}, plain.Name()) {
		for _, w := range m.Graph.Weights {
			if w.Role != model.RoleVector {
				put(w, plain)
			}
		}
		return m.With(tensors), nil
	}
	choices, err := quantize.Plan(m, quantize.Settings{Format: format, Algorithm: "rtn", AllowFallback: true})
	if err != nil {
		return nil, err
	}
	for _, ch := range choices {
		if ch.Codec != nil {
			put(ch.Weight, ch.Codec)
		}
	}
	return m.With(tensors), nil
}

// pattern reads as its rows over and over.
type pattern struct {
	data []byte
	row  int
}

func (p pattern) ReadRows(dst []byte, lo, _ int) error {
	at := lo * p.row % len(p.data)
	for n := 0; n < len(dst); at = 0 {
		n += copy(dst[n:], p.data[at:])
	}
	return nil
}
