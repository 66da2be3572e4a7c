package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/store"
)

func init() {
	register(&cli.Command{
		Name: "imatrix", Usage: "gather the importance of each input channel on a text, or merge such files",
		ArgsUsage: "[MODEL]",
		Description: modelHelp + `
The file is an importance matrix as llama-imatrix writes and llama-quantize reads it: a name that ends in .dat makes the
old format, any other the new one, which is GGUF. pare quantize --imatrix uses it.

examples
  pare imatrix ./model --calib text.txt -o imatrix.gguf
  pare imatrix --merge monday.gguf --merge tuesday.dat -o both.gguf`,
		Flags: append(append(outFlags("the importance matrix"), calibFlags()...),
			&cli.StringSliceFlag{Name: "merge", Usage: "add the sums of the importance matrix `FILE`"},
		),
		Action: action(gatherImatrix),
	})
}

func gatherImatrix(ctx context.Context, e *env, c *cli.Context) error {
	if c.NArg() == 0 && len(c.StringSlice("merge")) == 0 {
		return usage("%s wants a MODEL and --calib, or --merge", c.Command.HelpName)
	}
	t, err := target(c, append(c.Args().Slice(), c.StringSlice("merge")...)...)
	if err != nil {
		return err
	}
	x := &calib.Imatrix{}
	for _, path := range c.StringSlice("merge") {
		o, err := calib.OpenImatrix(path)
		if err != nil {
			return err
		}
		if err := x.Merge(o); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if c.NArg() > 0 {
		ref, err := one(c, "one MODEL")
		if err != nil {
			return err
		}
		m, err := openModel(ctx, e, ref)
		if err != nil {
			return err
		}
		defer m.Close()
		text, err := samples(ctx, c, m)
		if err != nil {
			return err
		}
		o, err := calib.Gather(ctx, m, text, strings.Join(c.StringSlice("calib"), " "))
		if err != nil {
			return err
		}
		if err := x.Merge(o); err != nil {
			return err
		}
	}
	if err := writeImatrix(t, x); err != nil {
		return err
	}
	v := struct {
		Path   string   `json:"path"`
		Chunks int      `json:"chunks"`
		Names  []string `json:"matrices"`
	}{t.Path, x.Chunks, x.Names()}
	return e.print(&v, func(w io.Writer) {
		fmt.Fprintf(w, "%s: importances of %d matrices from %d stretches of text\n", v.Path, len(v.Names), v.Chunks)
	})
}

func writeImatrix(t store.Target, x *calib.Imatrix) error {
	f, err := t.File()
	if err != nil {
		return err
	}
	defer f.Abort()
	if strings.EqualFold(filepath.Ext(t.Path), ".dat") {
		err = x.WriteLegacy(f)
	} else {
		err = x.WriteGGUF(f)
	}
	if err != nil {
		return err
	}
	return f.Commit()
}
