package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/safetensors"
)

func init() {
	register(&cli.Command{
		Name: "logits", Usage: "write the logits of a text to a file",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
The file holds one tensor, logits, of shape [tokens, vocabulary] in float32.

examples
  pare logits ./model --ids 1,2,3 -o logits.safetensors
  pare logits ./model --text "Once upon" --last -o next.safetensors`,
		Flags: append(outFlags("the .safetensors file"),
			&cli.StringFlag{Name: "ids", Usage: "the token ids `N,N..`"},
			&cli.StringFlag{Name: "text", Usage: "the text `T`"},
			&cli.BoolFlag{Name: "last", Usage: "only the logits after the last token"}),
		Action: action(logits),
	})
}

func logits(ctx context.Context, e *env, c *cli.Context) error {
	ref, err := one(c, "one MODEL")
	if err != nil {
		return err
	}
	if (c.String("ids") == "") == (c.String("text") == "") {
		return usage("%s wants --ids N,N.. or --text T", c.Command.HelpName)
	}
	t, err := target(c, ref)
	if err != nil {
		return err
	}
	m, err := loadModel(ctx, e, ref)
	if err != nil {
		return err
	}
	defer m.Close()
	var ids []int32
	if text := c.String("text"); text != "" {
		tok, err := m.Tokenizer()
		if err != nil {
			return err
		}
		if ids, err = tok.Encode(text, true); err != nil {
			return err
		}
	}
	for _, s := range strings.FieldsFunc(c.String("ids"), func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil || n < 0 || n >= int64(m.e.Vocab()) {
			return usage("--ids: %s is no token id; the vocabulary has %d", s, m.e.Vocab())
		}
		ids = append(ids, int32(n))
	}
	if len(ids) > m.e.Context() {
		return usage("%d tokens: the model's context is %d", len(ids), m.e.Context())
	}
	first := 0
	if c.Bool("last") {
		first = len(ids) - 1
	}
	shape := []int{len(ids) - first, m.e.Vocab()}
	f32, err := codec.Lookup("f32")
	if err != nil {
		return err
	}
	f, err := t.File()
	if err != nil {
		return err
	}
	defer f.Abort()
	w, err := safetensors.NewWriter(f, []safetensors.Info{{Name: "logits", Codec: f32, Shape: shape}}, nil)
	if err != nil {
		return err
	}
	row := make([]byte, 4*m.e.Vocab())
	err = m.e.NewSession().Each(ctx, ids, func(i int, l []float32) error {
		if i < first {
			return nil
		}
		f32.Encode(row, l, nil)
		return w.WriteRows("logits", i-first, row)
	})
	if err == nil {
		err = w.Finish()
	}
	if err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	v := struct {
		Path  string  `json:"path"`
		Shape []int   `json:"shape"`
		IDs   []int32 `json:"ids"`
	}{t.Path, shape, ids}
	return e.print(v, func(w io.Writer) {
		fmt.Fprintf(w, "%s  logits [%d, %d]\n", v.Path, shape[0], shape[1])
	})
}
