// Package cli is pare's command line: one file for each verb, which asks a package for work and prints the answer.
//
// A verb's file registers a Command of urfave/cli and runs its work through action, which hands it what all verbs
// share: the context that ends with Ctrl-C and carries progress bars, and the printer of results, as text or JSON.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/internal/version"
	"github.com/parelm/pare/recipes"
)

// Exit codes, as scripts rely on them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2 // also an invalid recipe
	exitGate        = 3
	exitInterrupted = 130
)

// verbs in the order of the help, by what they are for.
var order = []struct {
	category string
	names    []string
}{
	{"recipes", []string{"run", "plan", "recipes", "verify"}},
	{"models", []string{"inspect", "convert", "quantize", "imatrix", "prune", "distill", "teacher"}},
	{"measuring", []string{"eval", "compare", "bench", "logits", "tokenize"}},
	{"using", []string{"generate", "chat", "serve"}},
}

var verbs = map[string]*cli.Command{}

// register adds a verb. It belongs in an init function of the verb's file.
func register(c *cli.Command) {
	for _, group := range order {
		if slices.Contains(group.names, c.Name) {
			c.Category = group.category
		}
	}
	if c.Category == "" || verbs[c.Name] != nil {
		panic("cli: verb " + c.Name + " is not in the order, or registered twice")
	}
	c.CustomHelpTemplate = verbHelp
	verbs[c.Name] = c
}

// globals are the flags that every verb takes, before or after its name.
func globals() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print one JSON document instead of text"},
		&cli.BoolFlag{Name: "quiet", Usage: "print results and errors only"},
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "how much to tell: `LEVEL` is debug, info, warn or error"},
		&cli.IntFlag{Name: "threads", Usage: "how many threads `N` to compute with", DefaultText: "all cores"},
		&cli.StringSliceFlag{Name: "limit", Usage: "raise a limit on foreign files, `NAME=VALUE`"},
	}
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:                  "pare",
		Usage:                 "make small language models out of large ones, and measure what is left",
		Version:               version.String(),
		HideVersion:           true, // its short form -v is not ours
		Flags:                 append(globals(), &cli.BoolFlag{Name: "version", Usage: "print the version", DisableDefaultText: true}),
		Writer:                stdout,
		ErrWriter:             io.Discard, // errors are printed once, in Main
		HideHelpCommand:       true,
		ExitErrHandler:        func(*cli.Context, error) {},
		OnUsageError:          func(_ *cli.Context, err error, _ bool) error { return usageError{err} },
		CustomAppHelpTemplate: appHelp(),
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return printVersion(c)
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, group := range order {
		for _, name := range group.names {
			if c := verbs[name]; c != nil {
				app.Commands = append(app.Commands, clone(c))
			}
		}
	}
	return app
}

// clone copies a command: urfave/cli writes into those it runs.
func clone(c *cli.Command) *cli.Command {
	d := *c
	d.Subcommands = nil
	for _, s := range c.Subcommands {
		d.Subcommands = append(d.Subcommands, clone(s))
	}
	return &d
}

func printVersion(c *cli.Context) error {
	e := newEnv(c)
	v := struct {
		Version string `json:"version"`
		Go      string `json:"go"`
		OS      string `json:"os"`
		Kernel  string `json:"kernel"`
	}{version.String(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, simd.Kernel()}
	return e.print(v, func(w io.Writer) {
		fmt.Fprintf(w, "pare %s (%s, %s, %s kernels)\n", v.Version, v.Go, v.OS, v.Kernel)
	})
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usage returns a mistake on the command line.
func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Main runs the command line and returns the exit code.
func Main(args []string) (code int) {
	ctx, stop := interruptible()
	defer stop()
	return run(ctx, args, os.Stdout, os.Stderr)
}

// run runs one command line. Nothing it does ends the process, except a second signal.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	say := func(text string) {
		for line := range strings.Lines(text) {
			fmt.Fprintf(stderr, "pare: %s\n", strings.TrimRight(line, "\n"))
		}
	}
	defer func() {
		if x := recover(); x != nil {
			say(fmt.Sprintf("internal error: %v", x))
			say("this is a mistake in pare; please report it, with the command line, at https://github.com/parelm/pare/issues")
			slog.Debug("panic", "stack", string(debug.Stack()))
			code = exitFailed
		}
	}()
	app := newApp(stdout, stderr)
	args, err := arrange(app, args)
	if err == nil {
		app.Before = func(c *cli.Context) error { return configure(c, stderr) }
		err = app.RunContext(withStreams(ctx, stdout, stderr), args)
	}
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errReported) {
		say(err.Error())
	}
	return exitCode(err)
}

// errReported goes with errors that the printed result tells already.
var errReported = errors.New("reported")

func exitCode(err error) int {
	var u usageError
	switch {
	case errors.Is(err, recipes.ErrInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, recipes.ErrGate):
		return exitGate
	case errors.As(err, &u), strict.IsDocument(err):
		return exitUsage
	}
	return exitFailed
}

// configure applies the global flags.
func configure(c *cli.Context, stderr io.Writer) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return usage("--log-level %s: want debug, info, warn or error", c.String("log-level"))
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})))
	if n := c.Int("threads"); n < 0 {
		return usage("--threads %d: want at least 1", n)
	} else if n > 0 {
		par.SetThreads(n)
	}
	for _, l := range c.StringSlice("limit") {
		name, value, _ := strings.Cut(l, "=")
		var x float64
		if _, err := fmt.Sscan(value, &x); err != nil || x != float64(int64(x)) {
			return usage("--limit %s: want NAME=VALUE, such as --limit gguf_array=1e9", l)
		}
		if err := limits.Raise(name, int64(x)); err != nil {
			return usage("--limit %s: %v%s", l, err, strict.DidYouMean(name, limits.Names()))
		}
	}
	return nil
}
