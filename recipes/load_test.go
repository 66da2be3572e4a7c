package recipes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parelm/pare/model/tensor"
)

// lab is a directory with a recipe and what it needs.
type lab struct {
	t     *testing.T
	dir   string
	notes strings.Builder // what runs said
}

func newLab(t *testing.T) *lab {
	l := &lab{t: t, dir: t.TempDir()}
	l.write("base/model.bin", strings.Repeat("0123456789", 100))
	l.write("base/config.json", "{}")
	l.write("calib.jsonl", `{"text":"x"}`+"\n")
	l.write("heldout.txt", "held out text")
	return l
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, filepath.FromSlash(name)) }

func (l *lab) write(name, text string) {
	l.t.Helper()
	if err := os.MkdirAll(filepath.Dir(l.path(name)), 0o777); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(l.path(name), []byte(text), 0o666); err != nil {
		l.t.Fatal(err)
	}
}

// plan writes the recipe, loads it and plans it.
func (l *lab) plan(text string, sets ...string) (*Plan, error) {
	l.t.Helper()
	l.write("r.yaml", text)
	r, err := Load(l.path("r.yaml"), sets...)
	if err != nil {
		return nil, err
	}
	return NewPlan(l.t.Context(), r, Options{Out: l.path("out")})
}

// good is a recipe with every part in it.
const good = `description: a small chain
model: ./base
data: {calib: ./calib.jsonl, heldout: [./heldout.txt]}
seed: 7
stages:
  - name: slim
    shrink: {keep: 0.75, steps: 3}
  - name: small
    shrink: {keep: 50%, algorithm: strong, strength: 3, teacher: base}
  - name: other
    from: slim
    shrink: {keep: 0.9}
  - name: report
    measure: {models: [base, slim, small, other]}
gate: {model: small, max_degradation: {perplexity: 50%}, max_size: 400KB, min_tokens_per_s: 30}
`

// TestMalformed is the table of malformed recipes. Each ends in one line per mistake that names the place, and nothing
// is written.
func TestMalformed(t *testing.T) {
	if l := newLab(t); true {
		if _, err := l.plan(good); err != nil {
			t.Fatalf("the good twin: %v", err)
		}
	}
	const head = "model: ./base\ndata: {calib: ./calib.jsonl}\nstages:\n"
	many := head
	for range 257 {
		many += "- shrink: {}\n"
	}
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret.txt"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		id, text string
		class    error
		want     string // a part of the message
	}{
		{"Y01 empty", "", tensor.ErrInvalid, "r.yaml: is empty"},
		{"Y01 no stages", "model: ./base\n", tensor.ErrInvalid, "r.yaml:1: has no stages"},
		{"Y02", good + "---\n" + good, tensor.ErrUnsupported, "more than one document"},
		{"Y03 top", "modle: ./base\n", tensor.ErrInvalid, `r.yaml:1: modle: unknown key (did you mean "model"?)`},
		{"Y03 kind", head + "- shrnk: {}\n", tensor.ErrInvalid, `r.yaml:4: stages[0].shrnk: unknown key (did you mean "shrink"?)`},
		{"Y03 setting", head + "- shrink:\n    kep: 1\n", tensor.ErrInvalid, `r.yaml:5: shrink.kep: unknown key (did you mean "keep"?)`},
		{"Y03 other algorithm", head + "- shrink:\n    strength: 1\n", tensor.ErrInvalid, `r.yaml:5: shrink.strength: unknown key`},
		{"Y03 gate", head + "- shrink: {}\ngate:\n  model: shrink\n  max_sise: 3\n", tensor.ErrInvalid, `r.yaml:7: gate.max_sise: unknown key (did you mean "max_size"?)`},
		{"Y04", head + "- shrink: {keep: [1]}\n", tensor.ErrInvalid, "r.yaml:4: shrink.keep: want a number"},
		{"Y04 stages", "model: ./base\nstages: 3\n", tensor.ErrInvalid, "r.yaml:2: stages: want a mapping of keys to values, found 3"},
		{"Y05", "a: &a [x,x]\nb: &b [*a,*a]\n", tensor.ErrUnsupported, "anchor &a"},
		{"Y06", "model: " + strings.Repeat("[", 10000) + strings.Repeat("]", 10000), tensor.ErrTooLarge, "deep"},
		{"Y07", "model: ./base\nstages:\n\t- shrink: {}\n", tensor.ErrCorrupt, "r.yaml:3: not YAML: indented with a tab"},
		{"Y08", head + "- shrink: {keep: 1, keep: 0.5}\n", tensor.ErrInvalid, "shrink.keep: given twice, first at r.yaml:4"},
		{"Y09 number", head + "- shrink: {steps: 1e3}\n", tensor.ErrInvalid, "want a whole number in plain digits, found 1e3"},
		{"Y09 hex", head + "- shrink: {steps: 0x10}\n", tensor.ErrInvalid, "found 0x10"},
		{"Y09 underscore", head + "- shrink: {steps: 1_0}\n", tensor.ErrInvalid, "found 1_0"},
		{"Y10 zero", head + "- shrink: {keep: 0}\n", tensor.ErrInvalid, "shrink.keep: 0 must be more than 0"},
		{"Y10 more", head + "- shrink: {keep: 1.5}\n", tensor.ErrInvalid, "shrink.keep: 1.5 must be at most 1"},
		{"Y10 NaN", head + "- shrink: {keep: .nan}\n", tensor.ErrInvalid, "shrink.keep: want a number"},
		{"Y11", head + "- shrink: {algorithm: magic}\n", tensor.ErrInvalid, `shrink.algorithm: "magic" is not one of plain, strong`},
		{"Y11 in plan", "stages:\n- craft: {size: 13}\n", tensor.ErrInvalid, "r.yaml:2: craft.size: 13 brings bad luck"},
		{"Y12 no model", "data: {calib: ./calib.jsonl}\nstages:\n- shrink: {}\n", tensor.ErrInvalid, "r.yaml:3: stages[0]: shrink has no model to start from"},
		{"Y12 measure nothing", "stages:\n- measure: {}\n", tensor.ErrInvalid, "measure has no model to measure"},
		{"Y12 later", head + "- {from: b, name: a, shrink: {}}\n- {name: b, shrink: {}}\n", tensor.ErrInvalid, `r.yaml:4: stages[0].from: no model "b" before this stage (known: base)`},
		{"Y12 measured only", head + "- {name: a, measure: {}}\n- {name: b, from: a, shrink: {}}\n", tensor.ErrInvalid, `r.yaml:5: stages[1].from: "a" makes no model`},
		{"Y12 unknown ref", head + "- {name: a, shrink: {teacher: bse}}\n", tensor.ErrInvalid, `r.yaml:4: a.shrink.teacher: no model "bse" before this stage (did you mean "base"?)`},
		{"Y12 from for a maker", head + "- {name: a, from: base, craft: {}}\n", tensor.ErrInvalid, "craft makes a model from nothing"},
		{"Y12 from for a measure", head + "- {name: a, from: base, measure: {}}\n", tensor.ErrInvalid, "measure starts from no model"},
		{"Y14 absolute", "model: /etc/hostname\nstages:\n- shrink: {}\n", tensor.ErrInvalid, "outside the workspace"},
		{"Y14 dots", "model: ./base\ndata: {calib: ../../../../../../../../../../etc/hostname}\nstages:\n- shrink: {}\n", tensor.ErrInvalid, "r.yaml:2: data.calib: "},
		{"Y14 link", "model: ./link\nstages:\n- shrink: {}\n", tensor.ErrInvalid, "r.yaml:1: model: "},
		{"Y14 glob over link", "model: ./base\ndata: {calib: ./link/*.txt}\nstages:\n- shrink: {}\n", tensor.ErrInvalid, "outside the workspace"},
		{"Y14 linked file", "model: ./base\ndata: {calib: ./*.lnk}\nstages:\n- shrink: {}\n", tensor.ErrInvalid, "outside the workspace"},
		{"Y14 NUL", "model: \"a\\0b\"\nstages:\n- shrink: {}\n", tensor.ErrInvalid, "is no path"},
		{"Y16", "# " + strings.Repeat("x", 2<<20), tensor.ErrTooLarge, "a recipe has at most 1048576 bytes"},
		{"Y17", many, tensor.ErrTooLarge, "257 stages, at most 256 are allowed"},
		{"Y19 memory", "stages:\n- craft: {plan_memory: 900TB}\n", tensor.ErrTooLarge, "r.yaml:2: craft: needs 900 TB of memory"},
		{"Y19 disk", "stages:\n- craft: {plan_disk: 900TB}\n", tensor.ErrTooLarge, "the run adds 900 TB, the disk has"},
		{"missing model", "model: ./bsae\nstages:\n- shrink: {}\n", tensor.ErrInvalid, `there is no model at `},
		{"missing model hint", "model: ./bsae\nstages:\n- shrink: {}\n", tensor.ErrInvalid, `(did you mean "base"?)`},
		{"missing data", "model: ./base\ndata: {calib: ./calip.jsonl}\nstages:\n- shrink: {}\n", tensor.ErrInvalid, `(did you mean "calib.jsonl"?)`},
		{"no match", "model: ./base\ndata: {calib: ./x/*.txt}\nstages:\n- shrink: {}\n", tensor.ErrInvalid, "no file matches"},
		{"bad pattern", "model: ./base\ndata: {calib: './[*.txt'}\nstages:\n- shrink: {}\n", tensor.ErrInvalid, "syntax error in pattern"},
		{"data is an empty directory", "model: ./base\ndata: {calib: ./empty}\nstages:\n- shrink: {}\n", tensor.ErrInvalid, "names no file"},
		{"no data", "model: ./base\nstages:\n- shrink: {}\n", tensor.ErrInvalid, "shrink.calib: needs text"},
		{"address", "model: http://x/y\nstages:\n- shrink: {}\n", tensor.ErrUnsupported, "only hf://org/name"},
		{"two kinds", head + "- {shrink: {}, measure: {}}\n", tensor.ErrInvalid, "a stage is of one kind, this one is shrink already"},
		{"no kind", head + "- {name: a}\n", tensor.ErrInvalid, "r.yaml:4: stages[0]: does nothing: give it one of"},
		{"two names", head + "- {name: a, shrink: {}}\n- {name: a, shrink: {}}\n", tensor.ErrInvalid, `r.yaml:5: stages[1].name: "a" is the name of an earlier stage too`},
		{"name base", head + "- {name: base, shrink: {}}\n", tensor.ErrInvalid, `"base" has a meaning of its own`},
		{"name gate", head + "- {name: gate, shrink: {}}\n", tensor.ErrInvalid, `"gate" has a meaning of its own`},
		{"name path", head + "- {name: ../x, shrink: {}}\n", tensor.ErrInvalid, `"../x" is no name`},
		{"gate nobody", head + "- shrink: {}\ngate: {model: shrnk, max_size: 1MB}\n", tensor.ErrInvalid, `r.yaml:5: gate.model: no model "shrnk" in this recipe (did you mean "shrink"?)`},
		{"gate nothing", head + "- shrink: {}\ngate: {model: shrink}\n", tensor.ErrInvalid, "r.yaml:5: gate: demands nothing"},
		{"gate unmeasured", head + "- shrink: {}\ngate: {model: shrink, max_kld: 1}\n", tensor.ErrInvalid, "shrink is not measured"},
		{"gate baseline", head + "- shrink: {}\ngate: {model: shrink, baseline: x, max_size: 1}\n", tensor.ErrInvalid, `gate.baseline: no model "x"`},
		{"all at once", head + "- shrink: {kep: 1}\n- mesure: {}\n", tensor.ErrInvalid, "r.yaml:5: stages[1].mesure: unknown key"},
	} {
		t.Run(tc.id, func(t *testing.T) {
			l := newLab(t)
			os.Mkdir(l.path("empty"), 0o777)
			os.Symlink(outside, l.path("link"))
			os.Symlink(filepath.Join(outside, "secret.txt"), l.path("s.lnk"))
			start := time.Now()
			_, err := l.plan(tc.text)
			if err == nil {
				t.Fatal("passed")
			}
			if !errors.Is(err, tc.class) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v\nwant %q of class %v", err, tc.want, tc.class)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
			if _, err := os.Stat(l.path("out")); err == nil {
				t.Error("something was written")
			}
		})
	}
}

func TestLoadFinds(t *testing.T) {
	l := newLab(t)
	l.write("r.yaml", good)
	for ref, want := range map[string]string{
		l.path("s.yaml"):       `there is no such recipe (did you mean "` + l.path("r.yaml") + `"?)`,
		l.path("base"):         "is a directory",
		"quickstrt-not-at-all": "there is no recipe of that name",
	} {
		if _, err := Load(ref); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, tensor.ErrInvalid) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if r, err := Load(l.path("r.yaml")); err != nil || r.Name() != "r" || len(r.Stages) != 4 {
		t.Errorf("%v %v", r, err)
	}
}

func TestSet(t *testing.T) {
	for _, tc := range []struct{ set, want string }{
		{"seed=9", ""},
		{"stages.small.shrink.keep=0.25", ""},
		{"stages.1.shrink.keep=0.25", ""},
		{"small.keep=0.25", ""},
		{"small.shrink.keep=0.25", ""},
		{"other.from=small", ""},
		{"gate.max_size=1GB", ""},
		{"data.calib=[]", "shrink.calib: needs text"},
		{"small.kep=1", `--set small.kep=1: small.shrink.kep: unknown key (did you mean "keep"?)`},
		{"smal.keep=1", `--set smal.keep=1: smal: unknown key`},
		{"small.keep=2", "--set small.keep=2: small.shrink.keep: 2 must be at most 1"},
		{"seed", "--set seed: want key.path=value"},
		{"=3", "--set =3: want key.path=value"},
		{"small.teacher=nobody", `--set small.teacher=nobody: small.shrink.teacher: no model "nobody" before this stage`},
	} {
		p, err := newLab(t).plan(good, tc.set)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v", tc.set, err)
		}
		if err == nil && strings.HasSuffix(tc.set, "keep=0.25") && p.Stages[1].Output != 187 {
			t.Errorf("%s: had no effect: %d", tc.set, p.Stages[1].Output)
		}
	}
}

// TestOutputTouchesInput is Y13: an output that is, holds or lies in what the run reads.
func TestOutputTouchesInput(t *testing.T) {
	for out, want := range map[string]string{
		"base": "is the input", "base/out": "lies inside the input", "x/../base/y/z": "lies inside the input",
		".": "holds the input", "calib.jsonl": "is the input", "heldout.txt/x": "lies inside the input", "based": "",
	} {
		l := newLab(t)
		l.write("r.yaml", good)
		r, err := Load(l.path("r.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Run(t.Context(), r, Options{Out: l.dir + "/" + out})
		if want == "" && err != nil || want != "" && (!errors.Is(err, tensor.ErrInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", out, err)
		}
	}
}

// TestWorkspace: what the user says on the command line may lie anywhere, what a recipe says may not.
func TestWorkspace(t *testing.T) {
	l, far := newLab(t), newLab(t)
	far.write("a b/base/model.bin", "elsewhere")
	text := strings.Replace(good, "./base", far.path("a b/base"), 1)
	if _, err := l.plan(text); err == nil || !strings.Contains(err.Error(), "--workspace") {
		t.Errorf("left the workspace: %v", err)
	}
	l.write("r.yaml", text)
	r, err := Load(l.path("r.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewPlan(t.Context(), r, Options{Out: l.path("out"), Workspace: []string{far.dir}}); err != nil {
		t.Errorf("with --workspace: %v", err)
	}
	if _, err := l.plan(good, "model="+far.path("a b/base")); err != nil {
		t.Errorf("with --set: %v", err)
	}
	t.Chdir(far.dir)
	if _, err := l.plan(good, "model=a b/base"); err != nil {
		t.Errorf("with --set, relative to the working directory: %v", err)
	}
	if _, err := l.plan(text); err != nil {
		t.Errorf("below the working directory: %v", err)
	}
}

// TestGlob: patterns are sorted, links inside are followed, and such characters in directory names mean themselves.
func TestGlob(t *testing.T) {
	l := newLab(t)
	for _, n := range []string{"b", "a", "c"} {
		l.write("odd [dir]*/t/"+n+".txt", n)
	}
	l.write("odd [dir]*/r.yaml", strings.Replace(good, "./calib.jsonl", "./t/*.txt", 1))
	l.write("odd [dir]*/base/model.bin", "0123456789")
	l.write("odd [dir]*/heldout.txt", "x")
	r, err := Load(l.path("odd [dir]*/r.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(t.Context(), r, Options{Out: l.path("out")})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, in := range p.Stages[0].inputs {
		names = append(names, in.Role+":"+in.Name)
	}
	const want = "model:base calib:t/a.txt calib:t/b.txt calib:t/c.txt"
	if got := strings.Join(names, " "); got != want {
		t.Error(got)
	}
	for _, same := range []string{"./t", "'./**/[a-c].txt'", "[./t/b.txt, './t/[ac].txt']"} {
		l := newLab(t)
		for _, n := range []string{"b", "a", "c"} {
			l.write("t/"+n+".txt", n)
		}
		p, err := l.plan(strings.Replace(good, "./calib.jsonl", same, 1))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(p.Stages[0].inputs); got != 4 {
			t.Errorf("%s: %d inputs", same, got)
		}
	}
}

func FuzzRecipe(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("stages:\n- craft: {size: 3}\n- {from: craft, shrink: {}}\ngate: [{model: craft, min_accuracy: 3%}]"))
	f.Add([]byte("stages: [{measure: }]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parse("r.yaml", "/", data, nil)
		if err != nil {
			var fe *tensor.FileError
			if !errors.As(err, &fe) {
				t.Errorf("an error that names no place: %v", err)
			}
			return
		}
		text, err := r.Resolved()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse("r.yaml", "/", text, nil)
		if err != nil {
			t.Fatalf("the resolved recipe is none: %v\n%s", err, text)
		}
		if text2, err := again.Resolved(); err != nil || string(text2) != string(text) {
			t.Errorf("resolving twice differs:\n%s\n%s", text, text2)
		}
	})
}
