package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
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
The text goes to standard output as it is written. The same seed gives the same text. With --draft, a smaller model of the
same vocabulary drafts tokens that MODEL checks several at a time: faster, and the greedy text does not change.

examples
  pare generate ./model -p "Once upon a time"
  pare generate q4.gguf -p "func main() {" -n 200 --temp 0.8 --top-p 0.95 --seed 7
  pare generate ./model -p "A person as JSON: " --json-schema '{"type": "object", "properties": {"name": {"type": "string"}}}'
  pare generate ./model -p "Once" --draft q4.gguf
  pare generate ./model -p "Once" -n 5 --logprobs 3 --json
  pare generate q4.gguf -p - --context 32768 --cache q8_0 < long.txt
  cat prompt.txt | pare generate q4.gguf -p -`,
		Flags: slices.Concat(samplingFlags(), constraintFlags(), []cli.Flag{
			&cli.StringFlag{Name: "p", Aliases: []string{"prompt"}, Usage: "the `TEXT` to continue; - reads standard input"},
			&cli.IntFlag{Name: "n", Aliases: []string{"max-tokens"}, Value: 64, Usage: "write at most `N` tokens"},
			&cli.BoolFlag{Name: "ignore-eos", Usage: "write on where the model ends the text"},
			&cli.IntFlag{Name: "logprobs", Usage: "with --json, say how likely each token was to the model, and the `N` likeliest in its place", DefaultText: "none"},
		}, draftFlags(), memoryFlags()),
		Action: action(generate),
	})
}

// draftFlags name the model that drafts.
func draftFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "draft", Usage: "a smaller `MODEL` that drafts for this one"},
		&cli.IntFlag{Name: "draft-tokens", Value: 4, Usage: "draft `K` tokens at a time"},
	}
}

// memoryFlags say what a text may take.
func memoryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "context", Usage: "the longest text with its prompt, in `N` tokens", DefaultText: "the model's"},
		&cli.StringFlag{Name: "cache", Value: "f16", Usage: "keep keys and values as `TYPE`: f32, f16, bf16 or q8_0"},
	}
}

// loadForText loads a MODEL with its tokenizer to write texts, as memoryFlags say.
func loadForText(ctx context.Context, e *env, c *cli.Context, ref string, soon bool) (*loaded, error) {
	if n := c.Int("context"); n < 0 {
		return nil, usage("--context %d: want at least 1", n)
	}
	m, err := openModel(ctx, e, ref)
	if err != nil {
		return nil, err
	}
	l := &loaded{Model: m}
	if l.e, err = runtime.Load(ctx, m, runtime.Options{Context: c.Int("context"), Cache: c.String("cache"), Soon: soon, Rounding: runtime.RoundFast}); err == nil {
		l.tok, err = m.Tokenizer()
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return l, nil
}

// generated is what the verb prints.
type generated struct {
	Text            string  `json:"text"`
	IDs             []int32 `json:"ids"`
	Stop            string  `json:"stop"`
	PromptTokens    int     `json:"prompt_tokens"`
	PromptSpeed     float64 `json:"prompt_tokens_per_second"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	Drafted         int     `json:"drafted,omitempty"`
	Accepted        int     `json:"accepted,omitempty"`

	Logprobs []likely `json:"logprobs,omitempty"`
}

// likely is a token and the logarithm of its probability after the text before it, as the model gives it: before penalties,
// temperature and grammar.
type likely struct {
	ID      int32    `json:"id"`
	Piece   string   `json:"piece"`
	Logprob float64  `json:"logprob"`
	Top     []likely `json:"top,omitempty"` // the likeliest
}

// watch returns what makes a token's entry from its logits, nil where nobody asked for any.
func watch(e *env, c *cli.Context, m *loaded, last *likely) (func(id int32, logits []float32), error) {
	n := c.Int("logprobs")
	switch {
	case !c.IsSet("logprobs"):
		return nil, nil
	case n < 0 || n > maxLogprobs:
		return nil, usage("--logprobs %d: want 0 to %d", n, maxLogprobs)
	case !e.json:
		return nil, usage("--logprobs wants --json")
	}
	return func(id int32, logits []float32) {
		p, top := runtime.Logprob(logits, id, n)
		*last = likely{ID: id, Piece: m.tok.Piece(id), Logprob: p}
		for _, t := range top {
			last.Top = append(last.Top, likely{ID: t.ID, Piece: m.tok.Piece(t.ID), Logprob: t.Logprob})
		}
	}, nil
}

// maxLogprobs bounds --logprobs.
const maxLogprobs = 100

// promptOf returns the text to continue.
func promptOf(c *cli.Context) (string, error) {
	switch prompt := c.String("p"); {
	case prompt == "":
		return "", usage("%s wants -p TEXT", c.Command.HelpName)
	case c.Int("n") < 1:
		return "", usage("-n %d: want at least 1", c.Int("n"))
	case prompt == "-":
		return readText(os.Stdin)
	default:
		return prompt, nil
	}
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
	prompt, err := promptOf(c)
	if err != nil {
		return err
	}
	g, err := constraint(c)
	if err != nil {
		return err
	}
	m, err := loadForText(ctx, e, c, ref, true)
	if err != nil {
		return err
	}
	defer m.Close()
	tok := m.tok
	ids, err := tok.Encode(prompt, true)
	if err != nil {
		return err
	}
	eos := m.EOS()
	match, constraint := matcher(g, m.e, tok, eos)
	if c.Bool("ignore-eos") && g == nil {
		eos = nil
	}
	speculation, closeDraft, err := drafter(ctx, e, c, m)
	if err != nil {
		return err
	}
	defer closeDraft()
	v := generated{IDs: []int32{}, PromptTokens: len(ids)}
	var last likely
	watcher, err := watch(e, c, m, &last)
	if err != nil {
		return err
	}
	text := runtime.NewText(tok, c.StringSlice("stop"))
	say := func(s string) {
		v.Text += s
		if !e.json {
			fmt.Fprint(e.out, s)
		}
	}
	start := time.Now()
	var first time.Time
	emit := func(id int32) error {
		if first.IsZero() {
			if first = time.Now(); !e.json {
				fmt.Fprint(e.out, prompt)
			}
		}
		v.IDs = append(v.IDs, id)
		if watcher != nil {
			v.Logprobs = append(v.Logprobs, last)
		}
		s, stopped := text.Push(id)
		if say(s); stopped || match != nil && match.Done() {
			return runtime.ErrStop
		}
		return nil
	}
	s, sampler := m.e.NewSession(), runtime.NewSampler(how, constraint, ids)
	sampler.Watch(watcher)
	var stop runtime.Stop
	if speculation != nil {
		stop, err = speculation.Generate(ctx, s, ids, c.Int("n"), sampler, eos, emit)
		v.Drafted, v.Accepted = speculation.Drafted, speculation.Accepted
	} else {
		stop, err = s.GenerateWith(ctx, ids, c.Int("n"), sampler, eos, emit)
	}
	if err != nil {
		return err
	}
	rest, _ := text.Flush()
	say(rest)
	v.Stop = string(stop)
	if !first.IsZero() {
		v.PromptSpeed = float64(len(ids)) / first.Sub(start).Seconds()
		if s := time.Since(first).Seconds(); len(v.IDs) > 1 && s > 0 {
			v.TokensPerSecond = float64(len(v.IDs)-1) / s
		}
	}
	err = e.print(&v, func(w io.Writer) { fmt.Fprintln(w) })
	if err == nil && !e.json {
		e.note(v.summary())
	}
	return err
}

func (v *generated) summary() string {
	s := fmt.Sprintf("\n%s tokens read at %.0f a second, %s written at %.1f a second; ended by %s",
		report.Count(int64(v.PromptTokens)), v.PromptSpeed, report.Count(int64(len(v.IDs))), v.TokensPerSecond, v.Stop)
	if v.Drafted > 0 {
		s += fmt.Sprintf("; %d of %d drafted tokens stayed", v.Accepted, v.Drafted)
	}
	return s
}

// drafter loads the model of --draft; nil without.
func drafter(ctx context.Context, e *env, c *cli.Context, target *loaded) (*runtime.Speculation, func(), error) {
	ref := c.String("draft")
	if ref == "" {
		return nil, func() {}, nil
	}
	if k := c.Int("draft-tokens"); k < 1 || k > 64 {
		return nil, nil, usage("--draft-tokens %d: want 1 to 64", k)
	}
	d, err := loadForText(ctx, e, c, ref, false)
	if err != nil {
		return nil, nil, err
	}
	if target.tok.Fingerprint() != d.tok.Fingerprint() {
		d.Close()
		return nil, nil, otherTokenizer(ref)
	}
	return &runtime.Speculation{Draft: d.e.NewSession(), K: c.Int("draft-tokens")}, func() { d.Close() }, nil
}

func otherTokenizer(ref string) error {
	return fmt.Errorf("--draft %s has another tokenizer: a draft must share it", ref)
}
