package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model/tensor"
)

// streams are where a command line prints.
type streams struct{ out, err io.Writer }

type streamsKey struct{}

func withStreams(ctx context.Context, stdout, stderr io.Writer) context.Context {
	return context.WithValue(ctx, streamsKey{}, streams{stdout, stderr})
}

// env is what all verbs share.
type env struct {
	streams
	json, quiet bool
	bars        *bars // nil where nobody watches
}

func newEnv(c *cli.Context) *env {
	e := &env{json: c.Bool("json"), quiet: c.Bool("quiet")}
	s, ok := c.Context.Value(streamsKey{}).(streams)
	if !ok {
		s = streams{os.Stdout, os.Stderr}
	}
	e.streams = s
	if f, ok := s.err.(*os.File); ok && !e.quiet && !e.json && term.IsTerminal(int(f.Fd())) {
		e.bars = newBars(f)
	}
	return e
}

// action makes a verb's work an action of urfave/cli: with an env, and a context that carries progress.
func action(work func(ctx context.Context, e *env, c *cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		e := newEnv(c)
		ctx := c.Context
		if e.bars != nil {
			defer e.bars.close()
			ctx = progress.With(ctx, e.bars)
		}
		err := work(ctx, e, c)
		var fe *tensor.FileError
		if errors.As(err, &fe) && fe.File == "" && c.NArg() == 1 && strings.HasPrefix(c.Command.ArgsUsage, "MODEL") {
			err = fmt.Errorf("%s: %w", c.Args().First(), err) // read long after the file was opened
		}
		return err
	}
}

// print prints a result: v as JSON, or as the text that human writes. An error means that it did not arrive.
func (e *env) print(v any, human func(w io.Writer)) error {
	if e.bars != nil {
		e.bars.clear()
	}
	w := bufio.NewWriter(e.out)
	if e.json {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return err
		}
	} else {
		human(w)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("the result could not be printed: %w", err)
	}
	return nil
}

// note tells the user a line about work that goes on.
func (e *env) note(line string) {
	if e.quiet || !slog.Default().Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	if e.bars != nil {
		e.bars.clear()
	}
	fmt.Fprintln(e.err, line)
}

// table prints rows in columns that line up. The first row is the head.
func table(w io.Writer, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	t.Flush()
}

// one returns the only argument of a verb.
func one(c *cli.Context, what string) (string, error) {
	switch c.NArg() {
	case 0:
		return "", usage("%s wants %s", c.Command.HelpName, what)
	case 1:
		return c.Args().First(), nil
	}
	return "", usage("%s wants %s, but there are %d arguments: %s", c.Command.HelpName, what, c.NArg(), strings.Join(c.Args().Slice(), " "))
}

// reported joins an error with the mark that the printed result tells it already.
func reported(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errReported, err)
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
