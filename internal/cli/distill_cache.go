package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/distill"
	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/store"
)

func init() {
	register(&cli.Command{
		Name: "teacher", Usage: "write down what a teacher says about a text, for pare distill --teacher",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
Keeps at most 150 bytes a token: the most probable tokens and draws from the others, without bias. With --url a server is asked
(vLLM, llama.cpp, pare serve) and MODEL, whose tokenizer must be the server's, is not run. A killed or interrupted command
goes on where it was when it is given again. docs/distillation.md describes the file.

settings for --set: pare recipes help cache

examples
  pare teacher ./big.gguf --data text.txt -o answers.cache
  pare teacher ./student --url http://cluster:8000 --data 'corpus/**/*.txt' --set top=20 -o answers.cache`,
		Flags: append(outFlags("the cached teacher"),
			&cli.StringSliceFlag{Name: "data", Usage: "text `FILE`, plain or .jsonl; a directory or a glob names many"},
			&cli.StringFlag{Name: "url", Usage: "the server `URL` of a remote teacher"},
			&cli.Uint64Flag{Name: "seed", Usage: "`N` starts the draws"},
			setFlag(),
		),
		Action: action(writeTeacher),
	})
}

// cacheKeys are what --set changes.
type cacheKeys struct {
	distill.CacheSettings
	// Remote is the server.
	Remote distill.Remote `yaml:"remote"`
}

func writeTeacher(ctx context.Context, e *env, c *cli.Context) error {
	if c.NArg() != 1 || len(c.StringSlice("data")) == 0 {
		return usage("%s wants one MODEL and --data FILE", c.Command.HelpName)
	}
	var s cacheKeys
	if err := set(c, &s); err != nil {
		return err
	}
	s.Seed = c.Uint64("seed")
	if url := c.String("url"); url != "" {
		s.Remote.URL = url
	}
	ref := c.Args().First()
	t, m, err := targetAndModel(ctx, e, c, ref)
	if err != nil {
		return err
	}
	defer m.Close()
	text, err := distill.ReadText(ctx, m, c.StringSlice("data"))
	if err != nil {
		return err
	}
	var teacher distill.Teacher
	o := distill.Options{Name: ref, Note: e.note}
	if s.Remote.URL != "" {
		o.Name = s.Remote.URL
		teacher, err = distill.NewRemote(ctx, m, s.Remote, e.note)
	} else {
		teacher, err = distill.Live(ctx, m)
	}
	if err != nil {
		return err
	}
	scratch, err := store.ScratchFor(fsx.OS, t.Path, workKey(made(c, m, &s), []string{ref}, text))
	if err != nil {
		return err
	}
	o.Checkpoints = keptStates{scratch}
	f, err := t.File()
	if err != nil {
		return err
	}
	defer f.Abort()
	info, err := distill.WriteCache(ctx, f, teacher, m, text, s.CacheSettings, o)
	if err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	if err := scratch.Remove(); err != nil {
		return err
	}
	return e.print(info, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %d tokens of %s, %d most probable and %d draws each\n", t.Path, info.Sequences*info.Length, info.Teacher, info.Top, info.Draws)
	})
}
