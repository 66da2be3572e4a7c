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
	Path          string          `json:"path"`
	Architecture  string          `json:"architecture"`
	Parameters    int64           `json:"parameters"`
	Layers        int             `json:"layers"`
	Hidden        int             `json:"hidden"`
	FFN           []int           `json:"ffn"`
	Heads         []int           `json:"heads"`
	KVHeads       []int           `json:"kv_heads"`
	Vocab         int             `json:"vocab"`
	Context       int             `json:"context"`
	Tied          bool            `json:"tied_embeddings"`
	Bytes         int64           `json:"bytes"`
	BitsPerWeight float64         `json:"bits_per_weight"`
	Format        string          `json:"format"`
	Tokenizer     string          `json:"tokenizer"`
	ChatTemplate  bool            `json:"chat_template"`
	Warnings      []string        `json:"warnings"`
	Tensors       []inspectTensor `json:"tensors"`
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
	var m *model.Model
	planned := strings.HasSuffix(ref, ".json")
	if planned {
		m, err = model.OpenConfig(ref)
	} else {
		m, err = openModel(ctx, e, ref)
	}
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
	for _, l := range m.Config.Layers {
		v.FFN, v.Heads, v.KVHeads = append(v.FFN, l.FFN), append(v.Heads, l.Heads), append(v.KVHeads, l.KVHeads)
	}
	var stored []*tensor.Tensor
	if planned {
		v.Bytes = m.Bytes()
	} else {
		v.Bytes = bytesOf(m)
	}
	if stored, err = m.Stored(); err != nil {
		return err
	}
	for _, t := range stored {
		v.Tensors = append(v.Tensors, inspectTensor{t.Name, quantize.DisplayName(t.Codec.Name()), append([]int{}, t.Shape...), t.Bytes()})
	}
	if tok, err := m.Tokenizer(); err == nil {
		v.Tokenizer, v.ChatTemplate = tok.String(), tok.ChatTemplate() != ""
	}
	return e.print(v, func(w io.Writer) { printInspection(w, &v, c.Bool("tensors")) })
}

func printInspection(w io.Writer, v *inspection, tensors bool) {
	fact := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-13s %s\n", name, fmt.Sprintf(format, args...))
	}
	fact("architecture", "%s", v.Architecture)
	fact("parameters", "%s (%d)", report.Count(v.Parameters), v.Parameters)
	tied := ""
	if v.Tied {
		tied = ", head tied to the embedding"
	}
	fact("layers", "%d, hidden %d, ffn %s", v.Layers, v.Hidden, same(v.FFN))
	fact("heads", "%s, kv heads %s", same(v.Heads), same(v.KVHeads))
	fact("vocabulary", "%d%s", v.Vocab, tied)
	fact("context", "%d tokens", v.Context)
	fact("size", "%s, %s, %.2f bits a weight", report.Bytes(v.Bytes), v.Format, v.BitsPerWeight)
	tok := v.Tokenizer
	if tok == "" {
		tok = "none"
	}
	if v.ChatTemplate {
		tok += ", with a chat template"
	}
	fact("tokenizer", "%s", tok)
	if !tensors {
		return
	}
	fmt.Fprintln(w)
	rows := [][]string{{"tensor", "type", "shape", "size"}}
	for _, t := range v.Tensors {
		rows = append(rows, []string{t.Name, t.Dtype, strings.Join(strings.Fields(strings.Trim(fmt.Sprint(t.Shape), "[]")), " x "), report.Bytes(t.Bytes)})
	}
	table(w, rows)
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
