package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/measure"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/internal/version"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/quantize"
)

func init() {
	register(&cli.Command{
		Name: "quantize", Usage: "store the weights in fewer bits",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
GGUF formats and mixes make a .gguf file that llama.cpp loads too; the schemes W4A16 and W8A16 make a safetensors
checkpoint in the layout of compressed-tensors that vLLM loads, or with --layout gptq in that of AutoGPTQ.

formats: ` + strings.Join(quantizeFormats(), " ") + `
algorithms: ` + strings.Join(quantize.Algorithms(), " ") + ` (their settings: pare recipes help quantize)

examples
  pare quantize ./model --format Q4_K_M -o model-q4.gguf
  pare quantize ./model --format Q4_0 --algorithm gptq --calib text.txt -o model-q4.gguf
  pare quantize ./model --format W4A16 --algorithm gptq --calib text.txt --set actorder=group -o ./model-w4a16`,
		Flags: append(append(outFlags("the quantized model"), calibFlags()...),
			&cli.StringFlag{Name: "format", Usage: "the format `F` of the weights"},
			&cli.StringSliceFlag{Name: "text", Usage: "measure perplexity and divergence from MODEL of what was written, on the text `FILE`, for its card"},
			&cli.StringFlag{Name: "imatrix", Usage: "importances `FILE` of llama-imatrix or pare imatrix, in place of calibration text for rtn"},
			&cli.StringFlag{Name: "algorithm", Value: "rtn", Usage: "how codes are chosen: `A` is one of " + strings.Join(quantize.Algorithms(), ", ")},
			&cli.IntFlag{Name: "group-size", Usage: "`N` weights share a scale in safetensors schemes; -1 a whole row", DefaultText: "the scheme's own"},
			&cli.StringFlag{Name: "layout", Usage: "how safetensors schemes are stored: `L` is compressed-tensors or gptq", DefaultText: "compressed-tensors"},
			&cli.Float64Flag{Name: "target-bpw", Usage: "choose the format of each matrix within `X` bits per weight"},
			&cli.StringFlag{Name: "target-size", Usage: "choose the format of each matrix within a file of `SIZE`, like 400MB"},
			&cli.Float64Flag{Name: "max-kld", Usage: "choose the smallest formats within a mean divergence of `X` from the original"},
			&cli.StringFlag{Name: "max-ram", Usage: "take no more memory than `SIZE`, like 6GB, or say what it would take"},
			&cli.IntFlag{Name: "low-rank", Usage: "keep a correction of rank `R` of what rounding lost in each matrix, as a LoRA adapter beside the model"},
			&cli.StringFlag{Name: "rotate", Usage: "see the model in another basis first, which spreads outliers: `R` is none or hadamard", DefaultText: "none"},
			&cli.StringSliceFlag{Name: "target", Usage: "quantize only the matrix `NAME`, or re:REGEXP"},
			&cli.StringSliceFlag{Name: "ignore", Usage: "leave the matrix `NAME`, or re:REGEXP, as it is"},
			&cli.BoolFlag{Name: "allow-fallback", Usage: "permit another format where rows do not fit the format's blocks"},
			setFlag(),
		),
		Action: action(quantizeModel),
	})
}

func quantizeFormats() []string {
	var out []string
	for _, f := range quantize.Formats() {
		out = append(out, quantize.DisplayName(f))
	}
	return out
}

func quantizeModel(ctx context.Context, e *env, c *cli.Context) error {
	ref, err := one(c, "one MODEL")
	if err != nil {
		return err
	}
	s := quantize.Settings{Format: c.String("format"), Algorithm: c.String("algorithm"), GroupSize: c.Int("group-size"),
		Targets: c.StringSlice("target"), Ignore: c.StringSlice("ignore"), AllowFallback: c.Bool("allow-fallback"),
		TargetBPW: c.Float64("target-bpw"), TargetSize: c.String("target-size"), MaxKLD: c.Float64("max-kld"), Rotate: c.String("rotate"), Layout: c.String("layout"), LowRank: c.Int("low-rank"), MaxRAM: c.String("max-ram")}
	if s.Format == "" && s.Budgeted() {
		s.Format = "q4_k_m"
		if !isGGUF(c.String("out")) {
			s.Format = "w4a16"
		}
	}
	if s.Format == "" {
		return usage("%s wants --format: one of %s", c.Command.HelpName, strings.Join(quantizeFormats(), " "))
	}
	a, err := quantize.New(s.Algorithm)
	if err != nil {
		return usage("--algorithm %s: %v", s.Algorithm, err)
	}
	if err := set(c, a); err != nil {
		return err
	}
	t, m, err := targetAndModel(ctx, e, c, ref)
	if err != nil {
		return err
	}
	defer m.Close()
	turned, err := s.Prepare(m)
	if err != nil {
		return err
	}
	if _, err := quantize.Plan(turned, s); err != nil {
		return err
	}
	if packed := quantize.Packed(s.Format); packed == isGGUF(t.Path) {
		return usage("--format %s -o %s: GGUF formats go into a .gguf file, safetensors schemes into a directory", s.Format, t.Path)
	}
	o, err := quantizeOptions(ctx, c, m, t, &s, a)
	if err != nil {
		return err
	}
	for _, beside := range besides(t, &s, len(c.StringSlice("text")) > 0) {
		if err := beside.Check(); err != nil {
			return err
		}
	}
	how := made(c, m, &s, a)
	small, r, err := quantize.Run(ctx, m, s, a, o)
	if err != nil {
		return err
	}
	defer r.Close()
	card, err := newCard(ctx, c, m, t, &s, a, r)
	if err != nil {
		return err
	}
	n, err := writeWith(ctx, t, small, s.Format, how, "README.md", func() []byte { r.Complete(); return card.Markdown() })
	if err != nil {
		return err
	}
	r.Complete()
	if texts := c.StringSlice("text"); len(texts) > 0 {
		if card.Evaluation, err = evaluation(ctx, m.Path, t.Path, texts); err != nil {
			return err
		}
	}
	if card.File != "" || card.Evaluation != "" {
		if err := writeCard(t, card); err != nil {
			return err
		}
	}
	var adapter string
	if r.Adapter != nil {
		if adapter, err = writeAdapter(ctx, t, small, r.Adapter, how); err != nil {
			return err
		}
	}
	if j, ok := o.Journal.(scratch); ok {
		if err := errors.Join(r.Close(), j.Remove()); err != nil {
			return err
		}
	}
	v := struct {
		written
		Adapter string                  `json:"adapter,omitempty"`
		Notes   []string                `json:"notes,omitempty"`
		Tensors []quantize.TensorReport `json:"tensors"`
		Budget  *quantize.Budget        `json:"budget,omitempty"`
	}{Adapter: adapter, Notes: r.Notes, Tensors: r.Tensors, Budget: r.Budget}
	about := measure.Describe("", small)
	v.written = written{t.Path, n, quantize.DisplayName(s.Format), about.Parameters, about.BitsPerWeight}
	return e.print(&v, func(w io.Writer) {
		v.print(w)
		for _, note := range r.Notes {
			fmt.Fprintln(w, note)
		}
		printAdapter(w, adapter)
		if r.Budget != nil {
			printBudget(w, r.Budget)
		}
		byFormat, order := map[string]int{}, []string{}
		worst := quantize.TensorReport{}
		for _, x := range r.Tensors {
			if byFormat[x.Format]++; byFormat[x.Format] == 1 {
				order = append(order, x.Format)
			}
			if x.Error > worst.Error {
				worst = x
			}
			if x.Note != "" {
				fmt.Fprintf(w, "%s: %s\n", x.Name, x.Note)
			}
		}
		for _, f := range order {
			fmt.Fprintf(w, "  %4d matrices %s\n", byFormat[f], quantize.DisplayName(f))
		}
		if worst.Name != "" {
			fmt.Fprintf(w, "  largest relative squared error %.3g, in %s\n", worst.Error, worst.Name)
		}
	})
}

// printBudget says how formats were chosen.
func printBudget(w io.Writer, b *quantize.Budget) {
	for _, t := range b.Tried {
		fmt.Fprintf(w, "  plan by %-24s %12d bytes, divergence %.5f\n", t.Plan+":", t.Bytes, t.Divergence)
	}
	fmt.Fprintf(w, "  chosen: %s\n  %-28s %-8s %6s %10s %12s\n", b.Plan, "matrix", "format", "bits", "error", "sensitivity")
	for _, x := range b.Rows {
		fmt.Fprintf(w, "  %-28s %-8s %6.3f %10.3g %12.3g\n", x.Name, quantize.DisplayName(x.Format), x.Bits, x.Error, x.Sensitivity)
	}
}

// quantizeOptions reads what an algorithm needs to know.
func quantizeOptions(ctx context.Context, c *cli.Context, m *model.Model, t store.Target, s *quantize.Settings, a quantize.Algorithm) (quantize.Options, error) {
	var o quantize.Options
	var err error
	if path := c.String("imatrix"); path != "" {
		if o.Imatrix, err = calib.OpenImatrix(path); err != nil {
			return o, err
		}
	}
	if s.NeedsText(a, o.Imatrix) {
		if o.Samples, err = samples(ctx, c, m); err != nil {
			return o, err
		}
	}
	if o.Stream = s.Streams(a, o.Imatrix); o.Stream || m.Bytes() < quantize.JournalBytes {
		return o, nil
	}
	// A journal of other work must not be found: its key is all that the result depends on.
	h := sha256.New()
	enc := json.NewEncoder(h)
	settings := map[string]any{}
	for _, f := range strict.Fields(s, a) {
		if f.Tag.Get("result") != "same" {
			settings[f.Key] = strict.Plain(f.Value)
		}
	}
	for _, v := range []any{version.String(), settings, o.Samples, c.String("imatrix"), m.Path} {
		if err := enc.Encode(v); err != nil {
			return o, err
		}
	}
	for _, path := range []string{m.Path, c.String("imatrix")} {
		if st, err := os.Stat(path); err == nil {
			fmt.Fprintln(h, st.Size(), st.ModTime().UnixNano())
		}
	}
	work, err := t.Scratch(hex.EncodeToString(h.Sum(nil)))
	if err != nil {
		return o, err
	}
	o.Journal = scratch{work}
	return o, nil
}

// scratch is a store.Scratch as a quantize.Journal.
type scratch struct{ *store.Scratch }

func (s scratch) Open(name string) (quantize.JournalFile, error) {
	f, err := s.Scratch.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, store.ErrDamaged):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return f, nil
}
