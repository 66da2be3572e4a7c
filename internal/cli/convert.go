package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/measure"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/strict"
)

func init() {
	register(&cli.Command{
		Name: "convert", Usage: "write a model as GGUF or as a Hugging Face directory",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
OUT is one GGUF file where it ends in .gguf, else a Hugging Face directory. What the source says of the
tokenizer, the chat template and generation goes along. Weights keep their type unless --type asks for another.

examples
  pare convert ./TinyLlama-1.1B -o tinyllama.gguf
  pare convert model.gguf -o ./model-hf --type bf16`,
		Flags: append(outFlags("the model that is written"),
			&cli.StringFlag{Name: "type", Usage: "store the weights as `T`: f32, f16, bf16", DefaultText: "as they are"}),
		Action: action(convert),
	})
}

// written is what verbs that write a model answer.
type written struct {
	Path          string  `json:"path"`
	Bytes         int64   `json:"bytes"`
	Type          string  `json:"type"`
	Parameters    int64   `json:"parameters"`
	BitsPerWeight float64 `json:"bits_per_weight"`
}

func (v *written) print(w io.Writer) {
	fmt.Fprintf(w, "%s  %s, %s parameters, %s, %.2f bits a weight\n", v.Path, report.Bytes(v.Bytes), report.Count(v.Parameters), v.Type, v.BitsPerWeight)
}

func convert(ctx context.Context, e *env, c *cli.Context) error {
	ref, err := one(c, "one MODEL")
	if err != nil {
		return err
	}
	t, m, err := targetAndModel(ctx, e, c, ref)
	if err != nil {
		return err
	}
	defer m.Close()
	out := m
	settings := struct{ Type string }{c.String("type")}
	switch settings.Type {
	case "":
	case "f32", "f16", "bf16":
		if out, err = m.As(settings.Type); err != nil {
			return err
		}
	default:
		return usage("--type %s: want f32, f16 or bf16%s", settings.Type, hintQuantize(settings.Type))
	}
	n, err := write(ctx, t, out, "", made(c, m, &settings))
	if err != nil {
		return err
	}
	about := measure.Describe("", out)
	v := written{Path: t.Path, Bytes: n, Type: about.Format, Parameters: about.Parameters, BitsPerWeight: about.BitsPerWeight}
	return e.print(&v, v.print)
}

// hintQuantize tells who asks for a quantized type where to get it.
func hintQuantize(format string) string {
	if strict.Nearest(format, quantizeFormats()) != "" {
		return "; pare quantize --format " + format + " makes that"
	}
	return ""
}
