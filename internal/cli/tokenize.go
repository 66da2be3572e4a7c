package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tokenizer"
)

func init() {
	register(&cli.Command{
		Name: "tokenize", Usage: "show the tokens of a text",
		ArgsUsage: "MODEL [TEXT|-]",
		Description: modelHelp + `
Without TEXT, or with -, the text is read from standard input.

examples
  pare tokenize ./model "Hello world"
  pare tokenize model.gguf --no-special --json "Hello world" | jq .ids`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "no-special", Usage: "without the tokens that the model expects around a text"},
			&cli.BoolFlag{Name: "parse-special", Usage: "the text of a special token becomes that token"},
		},
		Action: action(tokenize),
	})
}

func tokenize(ctx context.Context, e *env, c *cli.Context) error {
	if c.NArg() < 1 || c.NArg() > 2 {
		return usage("%s wants a MODEL and at most one TEXT", c.Command.HelpName)
	}
	m, err := openModel(ctx, e, c.Args().First())
	if err != nil {
		return err
	}
	defer m.Close()
	tok, err := m.Tokenizer()
	if err != nil {
		return err
	}
	text := c.Args().Get(1)
	if c.NArg() == 1 || text == "-" {
		if text, err = readText(os.Stdin); err != nil {
			return err
		}
	}
	ids, err := tok.EncodeOptions(text, tokenizer.Options{AddSpecial: !c.Bool("no-special"), ParseSpecial: c.Bool("parse-special")})
	if err != nil {
		return err
	}
	v := struct {
		IDs    []int32  `json:"ids"`
		Pieces []string `json:"pieces"`
	}{IDs: append([]int32{}, ids...), Pieces: []string{}}
	for _, id := range ids {
		v.Pieces = append(v.Pieces, tok.Piece(id))
	}
	return e.print(v, func(w io.Writer) {
		for i, id := range v.IDs {
			fmt.Fprintf(w, "%8d  %q\n", id, v.Pieces[i])
		}
	})
}

// readText reads a text from standard input.
func readText(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, limits.Text+1))
	if err != nil {
		return "", fmt.Errorf("the text could not be read: %w", err)
	}
	return string(data), nil
}
