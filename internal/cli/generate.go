package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/runtime"
)

func init() {
	register(&cli.Command{
		Name: "generate", Usage: "continue a text",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
The text goes to standard output as it is written. The same seed gives the same text.

examples
  pare generate ./model -p "Once upon a time"
  pare generate q4.gguf -p "func main() {" -n 200 --temp 0.8 --top-p 0.95 --seed 7
  cat prompt.txt | pare generate q4.gguf -p -`,
		Flags: append(samplingFlags(),
			&cli.StringFlag{Name: "p", Aliases: []string{"prompt"}, Usage: "the `TEXT` to continue; - reads standard input"},
			&cli.IntFlag{Name: "n", Aliases: []string{"max-tokens"}, Value: 64, Usage: "write at most `N` tokens"},
			&cli.BoolFlag{Name: "ignore-eos", Usage: "write on where the model ends the text"}),
		Action: action(generate),
	})
}

// samplingFlags say how tokens are drawn.
func samplingFlags() []cli.Flag {
	return []cli.Flag{
		&cli.Float64Flag{Name: "temp", Aliases: []string{"temperature"}, Usage: "temperature `T`; 0 takes the likeliest token"},
		&cli.IntFlag{Name: "top-k", Usage: "draw from the `K` likeliest tokens", DefaultText: "all"},
		&cli.Float64Flag{Name: "top-p", Usage: "draw from the likeliest tokens that together have probability `P`", DefaultText: "1"},
		&cli.Float64Flag{Name: "min-p", Usage: "draw from tokens at least `P` times as likely as the likeliest"},
		&cli.Uint64Flag{Name: "seed", Usage: "`N` chooses among the texts that could be drawn"},
	}
}

func sampling(c *cli.Context) (runtime.Sampling, error) {
	s := runtime.Sampling{Temperature: c.Float64("temp"), TopK: c.Int("top-k"), TopP: c.Float64("top-p"), MinP: c.Float64("min-p"), Seed: c.Uint64("seed")}
	switch {
	case !(s.Temperature >= 0 && s.Temperature <= 100):
		return s, usage("--temp %v: want 0 to 100", s.Temperature)
	case s.TopK < 0:
		return s, usage("--top-k %d: want 0 or more", s.TopK)
	case !(s.TopP >= 0 && s.TopP <= 1):
		return s, usage("--top-p %v: want 0 to 1", s.TopP)
	case !(s.MinP >= 0 && s.MinP <= 1):
		return s, usage("--min-p %v: want 0 to 1", s.MinP)
	}
	return s, nil
}

func generate(ctx context.Context, e *env, c *cli.Context) error {
	ref, err := one(c, "one MODEL")
	if err != nil {
		return err
	}
	how, err := sampling(c)
	if err != nil {
		return err
	}
	prompt := c.String("p")
	if prompt == "" {
		return usage("%s wants -p TEXT", c.Command.HelpName)
	}
	if prompt == "-" {
		if prompt, err = readText(os.Stdin); err != nil {
			return err
		}
	}
	if c.Int("n") < 1 {
		return usage("-n %d: want at least 1", c.Int("n"))
	}
	m, err := loadModel(ctx, e, ref)
	if err != nil {
		return err
	}
	defer m.Close()
	tok, err := m.Tokenizer()
	if err != nil {
		return err
	}
	ids, err := tok.Encode(prompt, true)
	if err != nil {
		return err
	}
	if len(ids) >= m.e.Context() {
		return fmt.Errorf("the prompt has %d tokens, the model's context is %d: nothing is cut off silently", len(ids), m.e.Context())
	}
	eos := m.EOS()
	if c.Bool("ignore-eos") {
		eos = nil
	}
	v := struct {
		Text            string  `json:"text"`
		IDs             []int32 `json:"ids"`
		Stop            string  `json:"stop"`
		PromptTokens    int     `json:"prompt_tokens"`
		PromptSpeed     float64 `json:"prompt_tokens_per_second"`
		TokensPerSecond float64 `json:"tokens_per_second"`
	}{IDs: []int32{}, PromptTokens: len(ids)}
	stream := tok.NewStream(true)
	say := func(text string) {
		v.Text += text
		if !e.json {
			fmt.Fprint(e.out, text)
		}
	}
	if !e.json {
		fmt.Fprint(e.out, prompt)
	}
	start := time.Now()
	var first time.Time
	stop, err := m.e.NewSession().Generate(ctx, ids, c.Int("n"), how, eos, func(id int32) error {
		if first.IsZero() {
			first = time.Now()
		}
		v.IDs = append(v.IDs, id)
		say(stream.Push(id))
		return nil
	})
	if err != nil {
		return err
	}
	say(stream.Flush())
	v.Stop = string(stop)
	if !first.IsZero() {
		v.PromptSpeed = float64(len(ids)) / first.Sub(start).Seconds()
		if s := time.Since(first).Seconds(); len(v.IDs) > 1 && s > 0 {
			v.TokensPerSecond = float64(len(v.IDs)-1) / s
		}
	}
	err = e.print(&v, func(w io.Writer) { fmt.Fprintln(w) })
	if err == nil && !e.json {
		e.note(fmt.Sprintf("\n%s tokens read at %.0f a second, %s written at %.1f a second; ended by %s",
			report.Count(int64(len(ids))), v.PromptSpeed, report.Count(int64(len(v.IDs))), v.TokensPerSecond, stop))
	}
	return err
}
