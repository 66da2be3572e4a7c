package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/internal/version"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tokenizer"
	"github.com/parelm/pare/runtime"
)

// What verbs share that read and write models.

const modelHelp = `MODEL is a Hugging Face directory, a .gguf file, an artifact of a run, or hf://org/name[@revision].`

// openModel opens a MODEL and tells its warnings.
func openModel(ctx context.Context, e *env, ref string) (*model.Model, error) {
	if strings.HasPrefix(ref, "hf://") {
		if resolve == nil {
			return nil, fmt.Errorf("%s: this build cannot download", ref)
		}
		path, err := resolve(ctx, ref)
		if err != nil {
			return nil, err
		}
		ref = path
	}
	m, err := model.Open(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no model at %s", ref)
	}
	if err != nil {
		return nil, err
	}
	for _, w := range m.Warnings {
		slog.Warn(w)
	}
	return m, nil
}

// loaded is a model ready to run.
type loaded struct {
	*model.Model
	e   *runtime.Engine
	tok *tokenizer.Tokenizer // nil where the checkpoint has none
}

func loadModel(ctx context.Context, e *env, ref string) (*loaded, error) {
	m, err := openModel(ctx, e, ref)
	if err != nil {
		return nil, err
	}
	l := &loaded{Model: m}
	if l.e, err = runtime.Load(ctx, m, runtime.Options{Soon: true}); err != nil {
		m.Close()
		return nil, err
	}
	l.tok, err = m.Tokenizer()
	if err != nil {
		slog.Debug("no tokenizer", "model", ref, "error", err)
	}
	return l, nil
}

// outFlags name the output of a verb.
func outFlags(what string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: what + " `OUT`"},
		&cli.BoolFlag{Name: "force", Usage: "replace OUT where pare made it"},
	}
}

// target returns where a verb writes, checked before any work. Inputs that are hf:// addresses lie in a cache of their own.
func target(c *cli.Context, inputs ...string) (store.Target, error) {
	t := store.Target{FS: fsx.OS, Path: c.String("out"), Force: c.Bool("force")}
	if t.Path == "" {
		return t, usage("%s wants -o OUT", c.Command.HelpName)
	}
	for _, in := range inputs {
		if !strings.HasPrefix(in, "hf://") {
			t.Inputs = append(t.Inputs, in)
		}
	}
	return t, t.Check()
}

// targetAndModel returns where a verb writes and the MODEL it makes that from. The output is checked before the model is opened.
func targetAndModel(ctx context.Context, e *env, c *cli.Context, ref string) (store.Target, *model.Model, error) {
	t, err := target(c, ref)
	if err != nil {
		return t, nil, err
	}
	m, err := openModel(ctx, e, ref)
	return t, m, err
}

// sink makes a store.Dir a model.Sink.
type sink struct{ d *store.Dir }

func (s sink) Create(name string) (model.SinkFile, error) {
	f, err := s.d.Create(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// isGGUF reports whether an output is to be one GGUF file.
func isGGUF(path string) bool { return strings.EqualFold(filepath.Ext(path), ".gguf") }

// write publishes a model: one GGUF file where the name says so, else a Hugging Face directory with a manifest that says
// how it was made. It returns the bytes written.
func write(ctx context.Context, t store.Target, m *model.Model, mix string, how store.Manifest) (int64, error) {
	return writeWith(ctx, t, m, mix, how, "", nil)
}

// writeWith is write with one more file in a directory, whose text may speak of what was written.
func writeWith(ctx context.Context, t store.Target, m *model.Model, mix string, how store.Manifest, name string, data func() []byte) (int64, error) {
	if isGGUF(t.Path) {
		f, err := t.File()
		if err != nil {
			return 0, err
		}
		defer f.Abort()
		for _, note := range m.LlamaCPP() {
			slog.Warn(t.Path + ": " + note)
		}
		name := strings.TrimSuffix(filepath.Base(t.Path), filepath.Ext(t.Path))
		if err := m.SaveGGUF(ctx, f, model.GGUFOptions{Name: name, Mix: mix}); err != nil {
			return 0, err
		}
		if err := f.Commit(); err != nil {
			return 0, err
		}
		st, err := os.Stat(t.Path)
		if err != nil {
			return 0, err
		}
		return st.Size(), nil
	}
	d, err := t.Dir()
	if err != nil {
		return 0, err
	}
	defer d.Abort()
	if err := m.SaveHF(ctx, sink{d}); err != nil {
		return 0, err
	}
	if name != "" {
		f, err := d.CreateVolatile(name)
		if err != nil {
			return 0, err
		}
		if _, err := f.WriteAt(data(), 0); err != nil {
			return 0, err
		}
		if err := f.Close(); err != nil {
			return 0, err
		}
	}
	how.Pare, how.Seconds = version.String(), time.Since(how.Started).Seconds()
	a, err := d.Commit(how)
	if err != nil {
		return 0, err
	}
	return a.Bytes(), nil
}

// calibFlags choose calibration text.
func calibFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "calib", Usage: "calibration text `FILE`, plain or .jsonl; a directory or a glob names many"},
		&cli.BoolFlag{Name: "generate-calibration", Usage: "have the model write the calibration text itself, in place of --calib"},
		&cli.IntFlag{Name: "num-calibration-samples", Value: 128, Usage: "how many stretches `N` of the text to use"},
		&cli.IntFlag{Name: "max-seq-length", Usage: "length `N` of each in tokens", DefaultText: "the model's context, at most 512"},
		&cli.Uint64Flag{Name: "seed", Usage: "`N` shifts the stretches within the text"},
	}
}

// samples reads the calibration text of the command line.
func samples(ctx context.Context, c *cli.Context, m *model.Model) ([][]int32, error) {
	own := c.Bool("generate-calibration")
	switch given := len(c.StringSlice("calib")) > 0; {
	case own && given:
		return nil, usage("--calib and --generate-calibration: give one of them")
	case !own && !given:
		return nil, usage("%s wants calibration text: --calib FILE", c.Command.HelpName)
	}
	n, length := c.Int("num-calibration-samples"), c.Int("max-seq-length")
	if n < 1 || length < 0 {
		return nil, usage("--num-calibration-samples %d, --max-seq-length %d: want at least 1", n, length)
	}
	if length == 0 {
		length = 512
	}
	length = min(length, m.Config.MaxContext())
	if own {
		return calib.Generate(ctx, m, n, length, c.Uint64("seed"))
	}
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	return corpus.Calibration(ctx, tok, c.StringSlice("calib"), n, length, c.Uint64("seed"))
}

// made says how a verb makes a model, for its manifest. settings are structs, given as pointers.
func made(c *cli.Context, m *model.Model, settings ...any) store.Manifest {
	all := map[string]any{}
	for _, f := range strict.Fields(settings...) {
		all[f.Key] = strict.Plain(f.Value)
	}
	raw, err := json.Marshal(all)
	if err != nil {
		raw = nil // plain data always has JSON
	}
	return store.Manifest{Stage: c.Command.Name, Name: filepath.Base(c.String("out")), Settings: raw, Started: time.Now(),
		Inputs: []store.Input{{Role: "model", Name: m.Path}}}
}

// setFlag changes settings that have no flag of their own.
func setFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "set", Usage: "change a setting: `KEY=VALUE`; see pare recipes help"}
}

// set applies --set to structs that hold their defaults, given as pointers.
func set(c *cli.Context, settings ...any) error {
	doc, err := strict.Parse("--set", []byte("{}"), limits.RecipeDepth)
	if err != nil {
		return err
	}
	for _, kv := range c.StringSlice("set") {
		key, value, ok := strings.Cut(kv, "=")
		if !ok {
			return usage("--set %s: want KEY=VALUE", kv)
		}
		if err := doc.Set(key, value, "--set "+kv, limits.RecipeDepth); err != nil {
			return err
		}
	}
	return doc.Root().Decode(settings...)
}

// ratio reads the value of a flag that is a share to be kept.
func ratio(flag, text string) (float64, error) {
	x, err := strict.ParseReal(text)
	if err != nil || x <= 0 || x > 1 {
		return 0, usage("--%s %s: want the share that stays, above 0 and up to 1", flag, text)
	}
	return x, nil
}

// keys returns the keys of a map.
func keys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}
