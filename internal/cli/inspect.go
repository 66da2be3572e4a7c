package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/measure"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/quantize"
)

func init() {
	register(&cli.Command{
		Name: "inspect", Usage: "show what is in a checkpoint",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
A config.json by itself is counted without weights.

examples
  pare inspect ./TinyLlama-1.1B
  pare inspect model.gguf --tensors
  pare inspect config.json --json | jq .parameters`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "tensors", Usage: "list every stored tensor"}},
		Action: action(inspect),
	})
}

type inspection struct {
	Path             string          `json:"path"`
	Architecture     string          `json:"architecture"`
	Parameters       int64           `json:"parameters"`
	ActiveParameters int64           `json:"active_parameters"` // that one token uses
	Layers           int             `json:"layers"`
	Hidden           int             `json:"hidden"`
	FFN              []int           `json:"ffn"`
	Heads            []int           `json:"heads"`
	KVHeads          []int           `json:"kv_heads"`
	HeadDim          []int           `json:"head_dim"`
	Windows          []int           `json:"windows"` // keys seen, 0 for all
	Experts          []int           `json:"experts"`
	Positions        string          `json:"positions"`
	MLP              string          `json:"mlp"`
	Norm             string          `json:"norm"`
	Vocab            int             `json:"vocab"`
	Context          int             `json:"context"`
	CacheBytes       int64           `json:"cache_bytes_per_token"` // keys and values in 16 bits
	Tied             bool            `json:"tied_embeddings"`
	Bytes            int64           `json:"bytes"`
	BitsPerWeight    float64         `json:"bits_per_weight"`
	Format           string          `json:"format"`
	Tokenizer        string          `json:"tokenizer"`
	ChatTemplate     bool            `json:"chat_template"`
	Parts            []inspectPart   `json:"parts"`
	Sizes            []inspectSize   `json:"sizes,omitempty"` // of a config.json: what formats would take
	Warnings         []string        `json:"warnings"`
	Tensors          []inspectTensor `json:"tensors"`
}

// inspectPart is what one kind of weight adds up to.
type inspectPart struct {
	Name       string `json:"name"`
	Parameters int64  `json:"parameters"`
}

// inspectSize is the size of the weights in one format.
type inspectSize struct {
	Format        string  `json:"format"`
	Bytes         int64   `json:"bytes"`
	BitsPerWeight float64 `json:"bits_per_weight"`
}

type inspectTensor struct {
	Name  string `json:"name"`
	Dtype string `json:"dtype"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
}

func inspect(ctx context.Context, e *env, c *cli.Context) error {
	ref, err := one(c, "one MODEL")
	if err != nil {
		return err
	}
	planned := strings.HasSuffix(ref, ".json")
	m, err := inspected(ctx, e, ref, planned)
	if err != nil {
		return err
	}
	defer m.Close()
	about := measure.Describe("", m)
	v := inspection{
		Path: m.Path, Architecture: m.Config.Family.Name, Parameters: about.Parameters,
		Layers: len(m.Config.Layers), Hidden: m.Config.Hidden, Vocab: m.Config.Vocab, Context: m.Config.MaxContext(), Tied: m.Config.Tied,
		BitsPerWeight: about.BitsPerWeight, Format: about.Format, Warnings: append([]string{}, m.Warnings...),
	}
	v.describe(m)
	if planned {
		v.Bytes = m.Bytes()
		v.plan(m)
	} else {
		v.Bytes = m.FileBytes()
	}
	var stored []*tensor.Tensor
	if stored, err = m.Stored(); err != nil {
		return err
	}
	for _, t := range stored {
		v.Tensors = append(v.Tensors, inspectTensor{t.Name, quantize.DisplayName(t.Codec.Name()), append([]int{}, t.Shape...), t.Bytes()})
	}
	if tok, err := m.Tokenizer(); err == nil {
		v.Tokenizer, v.ChatTemplate = tok.String(), tok.ChatTemplate() != ""
	}
	return e.print(v, func(w io.Writer) { printInspection(w, &v, planned, c.Bool("tensors")) })
}

// inspected opens the model, or makes one of the shapes and the type that a config.json speaks of.
func inspected(ctx context.Context, e *env, ref string, planned bool) (*model.Model, error) {
	if !planned {
		return openModel(ctx, e, ref)
	}
	m, err := model.OpenConfig(ref)
	if err != nil {
		return nil, err
	}
	return m.As(m.Config.Dtype())
}

func printInspection(w io.Writer, v *inspection, planned, tensors bool) {
	fact := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-13s %s\n", name, fmt.Sprintf(format, args...))
	}
	active := ""
	if v.ActiveParameters < v.Parameters {
		active = fmt.Sprintf(", %s of them for each token", report.Count(v.ActiveParameters))
	}
	tied := ""
	if v.Tied {
		tied = ", head tied to the embedding"
	}
	fact("architecture", "%s", v.Architecture)
	fact("parameters", "%s (%d)%s", report.Count(v.Parameters), v.Parameters, active)
	fact("layers", "%d, hidden %d", v.Layers, v.Hidden)
	if v.Heads[0] > 0 {
		fact("attention", "%s heads of %s, %s key/value heads%s", same(v.Heads), same(v.HeadDim), same(v.KVHeads), windows(v.Windows))
	}
	if v.FFN[0] > 0 {
		fact("mlp", "%s", v.MLP)
	}
	fact("positions", "%s", v.Positions)
	fact("norm", "%s", v.Norm)
	fact("vocabulary", "%d%s", v.Vocab, tied)
	if v.CacheBytes > 0 {
		fact("context", "%d tokens, cache of %s each in 16 bits", v.Context, report.Bytes(v.CacheBytes))
	} else {
		fact("context", "%d tokens", v.Context)
	}
	fact("size", "%s, %s, %.2f bits a weight", report.Bytes(v.Bytes), v.Format, v.BitsPerWeight)
	if tok := v.Tokenizer; !planned {
		if tok == "" {
			tok = "none"
		}
		if v.ChatTemplate {
			tok += ", with a chat template"
		}
		fact("tokenizer", "%s", tok)
	}
	rows := [][]string{{"part", "parameters", "share"}}
	for _, p := range v.Parts {
		rows = append(rows, []string{p.Name, fmt.Sprint(p.Parameters), fmt.Sprintf("%.1f %%", 100*float64(p.Parameters)/float64(v.Parameters))})
	}
	section(w, rows)
	rows = [][]string{{"stored as", "size", "bits a weight"}}
	for _, s := range v.Sizes {
		rows = append(rows, []string{s.Format, report.Bytes(s.Bytes), fmt.Sprintf("%.2f", s.BitsPerWeight)})
	}
	section(w, rows)
	if !tensors {
		return
	}
	rows = [][]string{{"tensor", "type", "shape", "size"}}
	for _, t := range v.Tensors {
		rows = append(rows, []string{t.Name, t.Dtype, strings.Join(strings.Fields(strings.Trim(fmt.Sprint(t.Shape), "[]")), " x "), report.Bytes(t.Bytes)})
	}
	section(w, rows)
}

// section prints a table behind an empty line, or nothing where it has no rows.
func section(w io.Writer, rows [][]string) {
	if len(rows) > 1 {
		fmt.Fprintln(w)
		table(w, rows)
	}
}

// same prints a size that layers share, or its range.
func same(sizes []int) string {
	if len(sizes) == 0 {
		return "0"
	}
	low, high := sizes[0], sizes[0]
	for _, n := range sizes {
		low, high = min(low, n), max(high, n)
	}
	if low == high {
		return fmt.Sprint(low)
	}
	return fmt.Sprintf("%d to %d", low, high)
}

// windows tells which layers see how far.
func windows(sizes []int) string {
	n, size := 0, 0
	for _, w := range sizes {
		if w > 0 {
			n, size = n+1, w
		}
	}
	switch n {
	case 0:
		return ""
	case len(sizes):
		return fmt.Sprintf(", window of %d", size)
	}
	return fmt.Sprintf(", window of %d in %d of %d layers", size, n, len(sizes))
}
