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
  pare distill --student ./model --data domain.txt --set learning_rate=1e-4 -o ./adapted`,
		Flags: append(outFlags("the trained student"),
			&cli.StringFlag{Name: "teacher", Usage: "the MODEL `T` that the student follows"},
			&cli.StringFlag{Name: "student", Usage: "the MODEL `S` to start from"},
			&cli.StringSliceFlag{Name: "data", Usage: "training text `FILE`, plain or .jsonl; a directory or a glob names many"},
			&cli.Uint64Flag{Name: "seed", Usage: "`N` orders the text"},
			setFlag(),
		),
		Action: action(distillModel),
	})
}

func distillModel(ctx context.Context, e *env, c *cli.Context) error {
	if c.NArg() > 0 || c.String("student") == "" || len(c.StringSlice("data")) == 0 {
		return usage("%s wants --student MODEL, --data FILE and no further words", c.Command.HelpName)
	}
	s := distill.Default()
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
	if isGGUF(t.Path) {
		return usage("-o %s: a trained student is a Hugging Face directory; pare convert makes a .gguf file of it", t.Path)
	}
	m, err := openModel(ctx, e, c.String("student"))
	if err != nil {
		return err
	}
	defer m.Close()
	if err := s.Check(m, c.String("teacher") != ""); err != nil {
		return err
	}
	teacher, done, err := teacherOf(ctx, e, c, m)
	if err != nil {
		return err
	}
	defer done()
	text, err := distill.ReadText(ctx, m, c.StringSlice("data"))
	if err != nil {
		return err
	}
	how := made(c, m, &s)
	scratch, err := store.ScratchFor(fsx.OS, t.Path, workKey(how, inputs, text))
	if err != nil {
		return err
	}
	small, r, err := distill.Run(ctx, m, teacher, text, s, distill.Options{Checkpoints: keptStates{scratch}, Note: e.note})
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

// teacherOf opens the teacher that the command line names; nil for none. done closes it.
func teacherOf(ctx context.Context, e *env, c *cli.Context, student *model.Model) (teacher distill.Teacher, done func(), err error) {
	if c.String("teacher") == "" {
		return nil, func() {}, nil
	}
	t, err := openModel(ctx, e, c.String("teacher"))
	if err != nil {
		return nil, nil, err
	}
	if err = distill.Compatible(t, student); err == nil {
		teacher, err = distill.Live(ctx, t)
	}
	if err != nil {
		t.Close()
		return nil, nil, err
	}
	return teacher, func() { t.Close() }, nil
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
