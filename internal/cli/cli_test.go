package cli

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/recipes"
)

// Two kinds of stages, so that the verbs for recipes can be tested without a model.

//go:embed cli_test.go
var testSource embed.FS

func init() {
	src := []fs.FS{testSource}
	recipes.Register(recipes.Kind{Name: "craft", New: func() recipes.Stage { return &craft{Size: 1000} }, Sources: src, Starts: true})
	recipes.Register(recipes.Kind{Name: "gauge", New: func() recipes.Stage { return &gauge{} }, Sources: src, Measures: true})
}

// craft makes a file of a size.
type craft struct {
	// Size is how many bytes it has.
	Size int `min:"1"`
	// Steps is how many steps the work has.
	Steps int
	// StepTime is how long each takes.
	StepTime time.Duration
	// Fail makes it fail.
	Fail string `oneof:"no error panic"`
}

func (c *craft) UsesSeed() bool { return true }

func (c *craft) Plan(context.Context, *recipes.Planning) (recipes.Estimate, error) {
	return recipes.Estimate{OutputBytes: int64(c.Size), PeakMemory: 1 << 20, Seconds: 0.5, Details: []string{"a detail"}, Warnings: []string{"looks odd"}}, nil
}

func (c *craft) Run(ctx context.Context, j *recipes.Job) error {
	switch c.Fail {
	case "error":
		return errors.New("disk on fire")
	case "panic":
		panic("boom")
	}
	task := progress.Start(ctx, "craft", "steps", int64(c.Steps))
	defer task.Done()
	for range c.Steps {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(c.StepTime):
		}
		task.Add(1)
	}
	return j.WriteFile("model.bin", bytes.Repeat([]byte{byte(j.Seed)}, c.Size))
}

// gauge measures files.
type gauge struct {
	// Models are those measured.
	Models []string `ref:"all"`
}

func (g *gauge) Plan(context.Context, *recipes.Planning) (recipes.Estimate, error) {
	return recipes.Estimate{}, nil
}

func (g *gauge) Run(_ context.Context, j *recipes.Job) error {
	var f report.Facts
	for _, name := range g.Models {
		f.Models = append(f.Models, report.Model{Name: name, Perplexity: &report.Perplexity{Value: 1000 / float64(j.Refs[name].Bytes) * 5, Stderr: 0.1, Tokens: 100}})
	}
	return j.WriteJSON(report.FactsFile, f, false)
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pare": func() { os.Exit(Main(os.Args)) }})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// checkpoint DIR [FAMILY [KEY=VALUE...]]: a tiny Hugging Face checkpoint with a tokenizer, and the text it knows
			// as DIR.txt.
			"checkpoint": func(ts *testscript.TestScript, _ bool, args []string) {
				family, change := "llama", map[string]any{}
				if len(args) > 1 {
					family = args[1]
				}
				for _, kv := range args[min(2, len(args)):] {
					key, value, _ := strings.Cut(kv, "=")
					var v any
					ts.Check(json.Unmarshal([]byte(value), &v))
					change[key] = v
				}
				files, err := models.Files(family, 1, change)
				ts.Check(err)
				dir := ts.MkAbs(args[0])
				ts.Check(os.MkdirAll(dir, 0o755))
				for name, data := range files {
					ts.Check(os.WriteFile(filepath.Join(dir, name), data, 0o644))
				}
				ts.Check(os.WriteFile(dir+".txt", []byte(models.Text), 0o644))
			},
			// json FILE PATH [VALUE]: the JSON document FILE, or stdout, holds that value, such as rows.0.bytes; without a
			// value, something. Numbers are compared as written, after rounding to the digits of the wanted one.
			"json": jsonCommand,
			// exits N cmd...: the command ends with exit code N.
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				err = ts.Exec(args[1], args[2:]...)
				code := 0
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					code = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if code != want || neg {
					ts.Fatalf("exit code %d, want %d\n%s", code, want, ts.ReadFile("stderr"))
				}
			},
		},
	})
}

func jsonCommand(ts *testscript.TestScript, neg bool, args []string) {
	var doc any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &doc))
	found, at := doc, args[1]
	for _, step := range strings.Split(at, ".") {
		switch v := found.(type) {
		case map[string]any:
			found = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				found = nil
				break
			}
			found = v[i]
		default:
			found = nil
		}
	}
	if len(args) < 3 {
		if (found != nil) == neg {
			ts.Fatalf("%s is %v\n%s", at, found, ts.ReadFile(args[0]))
		}
		return
	}
	got := fmt.Sprint(found)
	if x, ok := found.(float64); ok {
		_, digits, _ := strings.Cut(args[2], ".")
		got = strconv.FormatFloat(x, 'f', len(digits), 64)
	}
	if (got == args[2]) == neg {
		ts.Fatalf("%s is %s, want %s\n%s", at, got, args[2], ts.ReadFile(args[0]))
	}
}

// TestArrange puts flags into place wherever they were written.
func TestArrange(t *testing.T) {
	app := newApp(nil, nil)
	for in, want := range map[string]string{
		"":                                 "",
		"run a":                            "run -- a",
		"run a --json":                     "--json run -- a",
		"--json run --out x a":             "--json run --out x -- a",
		"run a --out x --set b=c --set d=": "run --out x --set b=c --set d= -- a",
		"run --out=x a --threads 3":        "--threads 3 run --out=x -- a",
		"run -- --json":                    "run -- --json",
		"run a -o -x":                      "run -o -x -- a",
		"recipes":                          "recipes",
		"recipes show x --json":            "--json recipes show -- x",
		"recipes --json show x":            "--json recipes show -- x",
		"help":                             "--help",
		"help run":                         "run --help",
		"run -h":                           "run -h",
		"--version":                        "--version",
		"verify -":                         "verify -- -",
		"verify -1,2":                      "verify -- -1,2",
		"run a b":                          "run -- a b",
		"--log-level=debug run a":          "--log-level=debug run -- a",
	} {
		got, err := arrange(app, append([]string{"pare"}, strings.Fields(in)...))
		if err != nil || strings.Join(got[1:], " ") != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"rnu":              `pare has no verb "rnu" (did you mean "run"?)`,
		"frobnicate":       `pare has no verb "frobnicate"; see pare --help`,
		"run --ouput x":    "pare run has no flag --ouput (did you mean --out?)",
		"run --jsn x":      "pare run has no flag --jsn (did you mean --json?)",
		"run -x":           "pare run has no flag -x",
		"--out x run y":    "pare has no flag --out",
		"run x --out":      "--out wants a value",
		"recipes shwo":     `pare recipes has no verb "shwo" (did you mean "show"?)`,
		"help rnu":         `pare has no verb "rnu" (did you mean "run"?)`,
		"recipes show --x": "pare recipes show has no flag --x",
	} {
		_, err := arrange(app, append([]string{"pare"}, strings.Fields(in)...))
		if err == nil || err.Error() != want || exitCode(err) != exitUsage {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

// TestEveryVerbHelps: each verb has a sentence, examples, and help that exits 0.
func TestEveryVerbHelps(t *testing.T) {
	var list bytes.Buffer
	if code := run(t.Context(), []string{"pare"}, &list, &list); code != 0 {
		t.Fatal(code)
	}
	for name, c := range verbs {
		if c.Usage == "" || !strings.Contains(c.Description, "examples\n") {
			t.Errorf("%s has no usage or no examples", name)
		}
		if !strings.Contains(list.String(), fmt.Sprintf("  %-10s %s\n", name, c.Usage)) {
			t.Errorf("%s is not in the list of verbs", name)
		}
		for _, args := range [][]string{{"pare", name, "--help"}, {"pare", "help", name}} {
			var out, errs bytes.Buffer
			if code := run(t.Context(), args, &out, &errs); code != 0 || !strings.HasPrefix(out.String(), "pare "+name+": ") || errs.Len() > 0 {
				t.Errorf("%v: exit code %d\n%s%s", args, code, &out, &errs)
			}
		}
		for _, f := range c.Flags {
			if d, ok := f.(cli.DocGenerationFlag); !ok || d.GetUsage() == "" {
				t.Errorf("%s: flag %v has no usage", name, f.Names())
			}
		}
	}
}

// TestPanic: a mistake in pare is told as one, without a stack.
func TestPanic(t *testing.T) {
	old := verbs["verify"].Action
	defer func() { verbs["verify"].Action = old }()
	verbs["verify"].Action = func(*cli.Context) error { panic("boom") }
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"pare", "verify", "x"}, &out, &errs)
	if code != exitFailed || !strings.HasPrefix(errs.String(), "pare: internal error: boom\npare: this is a mistake in pare; please report it") || strings.Contains(errs.String(), "goroutine") {
		t.Errorf("exit code %d\n%s", code, &errs)
	}
}

// recipe writes one that takes some seconds.
func slowRecipe(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	text := "stages:\n- {name: quick, craft: {size: 10}}\n- {name: slow, craft: {steps: 100, step_time: 100ms}}\n"
	if err := os.WriteFile(filepath.Join(dir, "r.yaml"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

func pare(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("pare") // testscript.Main put it into PATH
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	return cmd
}
