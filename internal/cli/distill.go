package cli

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/distill"
	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/version"
	"github.com/parelm/pare/model"
)

func init() {
	register(&cli.Command{
		Name: "distill", Usage: "train a student toward a teacher, or on text alone",
		Description: modelHelp + `
Without --teacher the student learns from the text alone: continued pre-training. A killed or interrupted command goes on
where it was when it is given again.

settings for --set: pare recipes help distill; losses: ` + strings.Join(distill.LossNames(), " ") + `

examples
  pare distill --teacher ./model --student ./model-narrow --data text.txt -o ./recovered
  pare distill --teacher ./big.gguf --student ./small --data 'corpus/**/*.txt' --set losses.kl.temperature=2 --set steps=2000 -o ./taught
  pare distill --student ./model --data domain.txt --set learning_rate=1e-4 -o ./adapted
  pare distill --teacher ./model --student q4.gguf --data text.txt --set tune=scales --set learning_rate=1e-2 -o tuned.gguf
  pare distill --teacher answers.cache --student ./small -o ./taught`,
		Flags: append(outFlags("the trained student"),
			&cli.StringFlag{Name: "teacher", Usage: "the MODEL `T` that the student follows, or a file that pare teacher wrote"},
			&cli.StringFlag{Name: "student", Usage: "the MODEL `S` to start from"},
			&cli.StringSliceFlag{Name: "data", Usage: "training text `FILE`, plain or .jsonl; a directory or a glob names many"},
			&cli.Uint64Flag{Name: "seed", Usage: "`N` orders the text"},
			setFlag(),
		),
		Action: action(distillModel),
	})
}

func distillModel(ctx context.Context, e *env, c *cli.Context) error {
	if c.NArg() > 0 || c.String("student") == "" || len(c.StringSlice("data")) == 0 && !distill.IsCache(c.String("teacher")) {
		return usage("%s wants --student MODEL, --data FILE and no further words; a cached teacher brings its own text", c.Command.HelpName)
	}
	s := distillKeys{Settings: distill.Default()}
	if err := set(c, &s); err != nil {
		return err
	}
	s.Seed = c.Uint64("seed")
	inputs := []string{c.String("student")}
	if ref := c.String("teacher"); ref != "" {
		inputs = append(inputs, ref)
	}
	t, err := target(c, inputs...)
	if err != nil {
		return err
	}
	if isGGUF(t.Path) && s.Tune != "scales" {
		return usage("-o %s: a trained student is a Hugging Face directory; pare convert makes a .gguf file of it", t.Path)
	}
	m, err := openModel(ctx, e, c.String("student"))
	if err != nil {
		return err
	}
	defer m.Close()
	if err := s.Check(m, c.String("teacher") != "" || s.Remote.URL != ""); err != nil {
		return err
	}
	teacher, own, done, err := teacherOf(ctx, e, c, &s, m)
	if err != nil {
		return err
	}
	defer done()
	var text distill.Text
	if own != nil {
		text = *own
	} else if text, err = distill.ReadText(ctx, m, c.StringSlice("data")); err != nil {
		return err
	}
	how := made(c, m, &s)
	scratch, err := store.ScratchFor(fsx.OS, t.Path, workKey(how, inputs, text))
	if err != nil {
		return err
	}
	small, r, err := distill.Run(ctx, m, teacher, text, s.Settings, distill.Options{Checkpoints: keptStates{scratch}, Note: e.note})
	if err != nil {
		return err
	}
	n, err := write(ctx, t, small, "", how)
	if err != nil {
		return err
	}
	if err := scratch.Remove(); err != nil {
		return err
	}
	return printTraining(e, t.Path, n, r)
}

// teacherOf opens the teacher that the command line names, a model or a cached teacher, or a server; nil for none. done closes it.
// text is nil where the student learns from the files it is given.
func teacherOf(ctx context.Context, e *env, c *cli.Context, k *distillKeys, student *model.Model) (teacher distill.Teacher, text *distill.Text, done func(), err error) {
	done = func() {}
	ref := c.String("teacher")
	switch {
	case k.Remote.URL != "" && ref != "":
		return nil, nil, nil, usage("--teacher names a model, --set remote.url a server: give one of them")
	case k.Remote.URL != "":
		teacher, err = distill.NewRemote(ctx, student, k.Remote, e.note)
		return teacher, nil, done, err
	case ref == "":
		return nil, nil, done, nil
	case distill.IsCache(ref):
		f, err := distill.OpenCache(ref)
		if err != nil {
			return nil, nil, nil, err
		}
		if err := f.Compatible(student); err != nil {
			f.Close()
			return nil, nil, nil, err
		}
		own := f.Text()
		return f.Teacher(), &own, func() { f.Close() }, nil
	}
	t, err := openModel(ctx, e, ref)
	if err != nil {
		return nil, nil, nil, err
	}
	if err = distill.Compatible(t, student); err == nil {
		teacher, err = distill.Live(ctx, t)
	}
	if err != nil {
		t.Close()
		return nil, nil, nil, err
	}
	return teacher, nil, func() { t.Close() }, nil
}

// distillKeys are what --set changes.
type distillKeys struct {
	distill.Settings
	// Remote is a server that is asked instead of a teacher.
	Remote distill.Remote `yaml:"remote"`
}

func printTraining(e *env, path string, bytes int64, r *distill.Report) error {
	v := struct {
		Path  string  `json:"path"`
		Bytes int64   `json:"bytes"`
		Steps int     `json:"steps"`
		Loss  float64 `json:"loss"`
		Speed float64 `json:"tokens_per_second"`
	}{path, bytes, r.Steps, 0, r.Speed()}
	if k := len(r.Points); k > 0 {
		v.Loss = r.Points[k-1].Loss
	}
	return e.print(&v, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %d steps, loss %.4f, %.0f tokens/s\n", path, v.Steps, v.Loss, v.Speed)
	})
}

// keptStates are the states of training that a later command goes on from.
type keptStates struct{ *store.Scratch }

func (k keptStates) Open(name string) (io.ReadCloser, error) { return k.Kept(name) }

// workKey says which work a state belongs to: settings, text, and the files of the models by their sizes and times.
func workKey(how store.Manifest, models []string, text distill.Text) string {
	h := sha256.New()
	fmt.Fprintf(h, "distill 1 %s\n%s\n%d\n", version.String(), how.Settings, text.BOS)
	for _, ref := range models {
		fmt.Fprintf(h, "%q\n", ref)
		_ = filepath.WalkDir(ref, func(path string, d os.DirEntry, err error) error { // an address has no files
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				fmt.Fprintf(h, "%q %d %d\n", path, info.Size(), info.ModTime().UnixNano())
			}
			return err
		})
	}
	_ = binary.Write(h, binary.LittleEndian, text.IDs) // a hash takes everything
	return hex.EncodeToString(h.Sum(nil))
}
