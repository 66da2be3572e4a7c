package recipes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/store"
)

// run writes the recipe, loads it and runs it.
func (l *lab) run(text string, sets ...string) (*Outcome, error) {
	l.t.Helper()
	return l.runCtx(l.t.Context(), text, sets...)
}

func (l *lab) runCtx(ctx context.Context, text string, sets ...string) (*Outcome, error) {
	l.t.Helper()
	l.write("r.yaml", text)
	r, err := Load(l.path("r.yaml"), sets...)
	if err != nil {
		return nil, err
	}
	return Run(ctx, r, Options{Out: l.path("out"), Command: "run r.yaml", Note: func(s string) { l.notes.WriteString(s + "\n") }})
}

func (l *lab) mustRun(text string, sets ...string) *Outcome {
	l.t.Helper()
	o, err := l.run(text, sets...)
	if err != nil {
		l.t.Fatal(err)
	}
	return o
}

// reused lists which artifacts of an outcome were reused: "x" for those made.
func reused(o *Outcome) string {
	var b strings.Builder
	for _, a := range o.Artifacts {
		b.WriteString(map[bool]string{true: "r", false: "x"}[a.Reused])
	}
	return b.String()
}

func digests(o *Outcome) string {
	var list []string
	for _, a := range o.Artifacts {
		list = append(list, a.Digest)
	}
	return strings.Join(list, " ")
}

// reference returns the digests of an undisturbed run of the good recipe.
func reference(t *testing.T, sets ...string) string {
	t.Helper()
	return digests(newLab(t).mustRun(good, sets...))
}

func TestRun(t *testing.T) {
	l := newLab(t)
	o := l.mustRun(good)
	if reused(o) != "xxxx" || o.Gate == nil || !o.Gate.OK || len(o.Gate.Checks) != 3 {
		t.Fatalf("%+v", o)
	}
	if digests(o) != reference(t) {
		t.Error("digests depend on the place")
	}
	for _, a := range o.Artifacts {
		if _, _, err := store.Verify(t.Context(), fsx.OS, a.Path); err != nil {
			t.Error(err)
		}
	}
	var rep report.Report
	data, err := os.ReadFile(o.Report.JSON)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &rep); err != nil {
		t.Fatal(err)
	}
	m := rep.Model("small")
	if len(rep.Models) != 4 || m == nil || m.Perplexity == nil || m.Decode == nil || m.Parameters != 375 || rep.Baseline != Base || len(rep.Stages) != 4 {
		t.Errorf("report: %+v", rep)
	}
	text, err := os.ReadFile(filepath.Join(o.Out, "recipe.yaml"))
	if err != nil || !strings.Contains(string(text), "strength: 3") || !strings.Contains(string(text), "algorithm: plain") {
		t.Errorf("resolved recipe: %v\n%s", err, text)
	}
	events, err := store.ReadLog(fsx.OS, o.Out)
	var names []string
	for _, e := range events {
		names = append(names, e.Event)
	}
	if got := strings.Join(names, " "); err != nil || got != "run start done start done start done start done end" {
		t.Errorf("log: %s %v", got, err)
	}
	m2, err := store.ReadManifest(fsx.OS, o.Artifacts[1].Path)
	if err != nil || len(m2.Lineage) != 1 || m2.Lineage[0].Name != "slim" || len(m2.Inputs) != 3 || !strings.Contains(string(m2.Settings), `"strength":3`) && !strings.Contains(string(m2.Settings), `"strength": 3`) {
		t.Errorf("manifest: %+v %v", m2, err)
	}
	entries, err := os.ReadDir(o.Out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".tmp") || strings.HasPrefix(e.Name(), ".work") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

// TestReuse: a run makes only what its change touches.
func TestReuse(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		change     func(l *lab) (text string, sets []string)
	}{
		{"nothing", "rrrr", func(*lab) (string, []string) { return good, nil }},
		{"seed, which no stage uses", "rrrr", func(*lab) (string, []string) { return good, []string{"seed=8"} }},
		{"first stage", "xxxx", func(*lab) (string, []string) { return good, []string{"slim.keep=0.7"} }},
		{"side branch", "rrxx", func(*lab) (string, []string) { return good, []string{"other.keep=0.8"} }},
		{"a default written out", "rrrr", func(*lab) (string, []string) { return good, []string{"slim.algorithm=plain"} }},
		{"gate", "rrrr", func(*lab) (string, []string) { return good, []string{"gate.max_size=300KB"} }},
		{"calibration data", "xxxx", func(l *lab) (string, []string) { l.write("calib.jsonl", "y"); return good, nil }},
		{"held-out data", "rrrx", func(l *lab) (string, []string) { l.write("heldout.txt", "y"); return good, nil }},
		{"model", "xxxx", func(l *lab) (string, []string) { l.write("base/model.bin", strings.Repeat("y", 500)); return good, nil }},
		{"model card", "rrrr", func(l *lab) (string, []string) { l.write("base/README.md", "y"); return good, nil }},
		{"a file's name", "rrrr", func(l *lab) (string, []string) {
			l.write("c2.jsonl", `{"text":"x"}`+"\n")
			return good, []string{"data.calib=" + l.path("c2.jsonl")}
		}},
		{"a stage's name", "rrrx", func(l *lab) (string, []string) { return strings.ReplaceAll(good, "other", "third"), nil }},
		{"touched, not changed", "rrrr", func(l *lab) (string, []string) {
			os.Chtimes(l.path("base/model.bin"), time.Now(), time.Now())
			return good, nil
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			l.mustRun(good)
			text, sets := tc.change(l)
			p, err := l.plan(text, sets...)
			if err != nil {
				t.Fatal(err)
			}
			planned := ""
			for _, s := range p.Stages {
				planned += map[bool]string{true: "r", false: "x"}[s.Cached]
			}
			if o := l.mustRun(text, sets...); reused(o) != tc.want || planned != tc.want {
				t.Errorf("planned %s, ran %s, want %s", planned, reused(o), tc.want)
			}
		})
	}
}

// TestDamagedArtifacts: what cannot be trusted is made again, and said.
func TestDamagedArtifacts(t *testing.T) {
	for _, tc := range []struct {
		name, want, note string
		damage           func(path string) error
	}{
		{"bit", "rxrr", "small is made again: damaged", func(p string) error { return os.WriteFile(p+"/model.bin", []byte("x"), 0o666) }},
		{"missing file", "rxrr", "model.bin: missing", func(p string) error { return os.Remove(p + "/model.bin") }},
		{"empty manifest", "rxrr", "manifest.json", func(p string) error { return os.WriteFile(p+"/manifest.json", nil, 0o666) }},
		{"gone", "rxrr", "small: ", os.RemoveAll},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			o := l.mustRun(good)
			if err := tc.damage(o.Artifacts[1].Path); err != nil {
				t.Fatal(err)
			}
			l.notes.Reset()
			again := l.mustRun(good)
			if reused(again) != tc.want || digests(again) != digests(o) {
				t.Errorf("%s, same digests %v", reused(again), digests(again) == digests(o))
			}
			if !strings.Contains(l.notes.String(), tc.note) {
				t.Errorf("did not say %q:\n%s", tc.note, &l.notes)
			}
			if third := l.mustRun(good); reused(third) != "rrrr" {
				t.Errorf("third run: %s", reused(third))
			}
		})
	}
}

// TestStaleInput: when an input comes out differently the second time, nothing made from the first is reused.
func TestStaleInput(t *testing.T) {
	l := newLab(t)
	const text = "data: {calib: ./calib.jsonl}\nstages:\n- craft: {size: 666}\n- shrink: {}\n"
	o := l.mustRun(text)
	if got := reused(l.mustRun(text)); got != "rr" {
		t.Fatal(got)
	}
	if err := os.RemoveAll(o.Artifacts[0].Path); err != nil {
		t.Fatal(err)
	}
	l.notes.Reset()
	again := l.mustRun(text)
	if reused(again) != "xx" || !strings.Contains(l.notes.String(), "came out differently") {
		t.Errorf("%s\n%s", reused(again), &l.notes)
	}
	if got := reused(l.mustRun(text)); got != "rr" {
		t.Errorf("afterwards: %s", got)
	}
}

func TestGate(t *testing.T) {
	l := newLab(t)
	o, err := l.run(good, "gate.max_size=10")
	if !errors.Is(err, ErrGate) || o == nil || o.Gate.OK {
		t.Fatalf("%v %+v", err, o)
	}
	for _, c := range o.Gate.Checks {
		if c.OK == (c.Name == "small max_size") {
			t.Errorf("%+v", c)
		}
	}
	if _, err := os.Stat(o.Report.JSON); err != nil {
		t.Error("no report of a run whose gate failed:", err)
	}
}

func TestJudge(t *testing.T) {
	agree := 0.9
	rep := &report.Report{Models: []report.Model{
		{Name: "base", Bytes: 1000, Perplexity: &report.Perplexity{Value: 10}, Decode: &report.Speed{TokensPerSecond: 100},
			Tasks: map[string]report.Task{"a": {Metric: "accuracy", Value: 0.8}}},
		{Name: "q", Bytes: 200, Perplexity: &report.Perplexity{Value: 11}, Decode: &report.Speed{TokensPerSecond: 150}, KLD: &report.KLD{Mean: 0.05}, Top1Agreement: &agree,
			Tasks: map[string]report.Task{"a": {Metric: "accuracy", Value: 0.6}, "b": {Metric: "accuracy", Value: 0.3}}},
	}}
	for _, tc := range []struct {
		gate  Gate
		want  string // which demands hold, in order
		value float64
	}{
		{Gate{MaxDegradation: map[string]float64{"perplexity": 0.1}}, "y", 0.1},
		{Gate{MaxDegradation: map[string]float64{"perplexity": 0.09}}, "n", 0.1},
		{Gate{MaxDegradation: map[string]float64{"decode": 0}}, "y", -0.5},
		{Gate{MaxDegradation: map[string]float64{"a": 0.25}}, "y", 0.25},
		{Gate{MaxDegradation: map[string]float64{"a": 0.2}}, "n", 0.25},
		{Gate{MaxDegradation: map[string]float64{"b": 1}}, "n", 0}, // not measured of the baseline
		{Gate{MaxDegradation: map[string]float64{"kld": 1}}, "n", 0},
		{Gate{MaxDegradation: map[string]float64{"nonsense": 1}}, "n", 0},
		{Gate{MaxPerplexity: 11}, "y", 11},
		{Gate{MaxPerplexity: 10.99}, "n", 11},
		{Gate{MaxKLD: 0.05}, "y", 0.05},
		{Gate{MinTop1Agreement: 0.91}, "n", 0.9},
		{Gate{MinAccuracy: Floors{"*": 0.5}}, "yn", 0.6},
		{Gate{MinAccuracy: Floors{"b": 0.3}}, "y", 0.3},
		{Gate{MinAccuracy: Floors{"c": 0.3}}, "n", 0},
		{Gate{MaxSize: 200}, "y", 200},
		{Gate{MaxSize: 199}, "n", 200},
		{Gate{MaxBitsPerWeight: 4}, "n", 0}, // not measured
		{Gate{MinTokensPerS: 150}, "y", 150},
		{Gate{MinPrefillTokensPerS: 1}, "n", 0},
	} {
		tc.gate.Model, tc.gate.Baseline = "q", "base"
		v := judge([]Gate{tc.gate}, rep)
		got := ""
		for _, c := range v.Checks {
			got += map[bool]string{true: "y", false: "n"}[c.OK]
			if c.Text == "" {
				t.Errorf("%+v has no text", c)
			}
		}
		if d := v.Checks[0].Value - tc.value; got != tc.want || v.OK == strings.Contains(tc.want, "n") || d > 1e-12 || d < -1e-12 {
			t.Errorf("%+v: %s %+v", tc.gate, got, v)
		}
	}
}

// TestFailures: a stage that fails says why, with its name, and leaves no artifact; the next run goes on.
func TestFailures(t *testing.T) {
	for broken, want := range map[string]string{
		"panic": "stage bad: internal error: runtime error: invalid memory address or nil pointer dereference",
		"error": `stage bad: tensor "layers.3.ffn": NaN at 17`,
		"nan":   "stage bad: r.yaml:4: bad.craft.size: 1000 is too little after all",
	} {
		l := newLab(t)
		const text = "stages:\n- {name: a, craft: {size: 30}}\n- {name: c, craft: {size: 31}}\n- {name: bad, craft: {broken: %s}}\n"
		_, err := l.run(fmt.Sprintf(text, broken))
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v", broken, err)
		}
		if found, _ := filepath.Glob(l.path("out/bad-*")); len(found) != 0 {
			t.Error("published a failure")
		}
		if found, _ := filepath.Glob(l.path("out/.tmp-*")); len(found) != 0 {
			t.Error("left its files")
		}
		o, err := l.run(fmt.Sprintf(text, "no"))
		if err != nil || reused(o) != "rrx" {
			t.Errorf("%s, mended: %v %v", broken, o, err)
		}
	}
}

// TestInterrupt: a cancelled run stops soon, keeps what it has, and the next one goes on from the checkpoint.
func TestInterrupt(t *testing.T) {
	l := newLab(t)
	want := reference(t, "small.steps=4")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(700*time.Millisecond, cancel)
	start := time.Now()
	_, err := l.runCtx(ctx, good, "small.steps=4", "small.step_time=400ms")
	if !errors.Is(err, ErrInterrupted) || time.Since(start) > 2500*time.Millisecond {
		t.Fatalf("%v after %v", err, time.Since(start))
	}
	events, err := store.ReadLog(fsx.OS, l.path("out"))
	if err != nil || events[len(events)-1].Event != "interrupted" {
		t.Errorf("%v %v", events, err)
	}
	l.notes.Reset()
	o := l.mustRun(good, "small.steps=4", "small.step_time=400ms")
	if reused(o) != "rxxx" || !strings.Contains(l.notes.String(), "small: goes on at step 1") {
		t.Errorf("%s\n%s", reused(o), &l.notes)
	}
	ref := strings.Fields(want)
	if got := strings.Fields(digests(o)); got[0] != ref[0] || got[1] != ref[1] {
		t.Error("resumed to something else")
	}
}

func TestTwoRuns(t *testing.T) {
	l := newLab(t)
	s, err := store.Open(fsx.OS, l.path("out"), "run held.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := l.run(good); !errors.Is(err, fsx.ErrBusy) || !strings.Contains(err.Error(), "run held.yaml") {
		t.Errorf("%v", err)
	}
	if _, err := l.plan(good); err != nil {
		t.Errorf("planning while another run works: %v", err)
	}
}

// TestSharedArtifact: two stages that are the same are made once.
func TestSharedArtifact(t *testing.T) {
	l := newLab(t)
	o := l.mustRun("seed: 1\nstages:\n- {name: a, craft: {}}\n- {name: b, craft: {}}\n- {measure: {}}\n")
	if reused(o) != "xrx" || o.Artifacts[0].Path != o.Artifacts[1].Path {
		t.Errorf("%+v", o.Artifacts)
	}
}

// TestSeed: it is part of what uses it, and only of that.
func TestSeed(t *testing.T) {
	l := newLab(t)
	const text = "data: {calib: ./calib.jsonl}\nseed: 1\nstages:\n- craft: {}\n- shrink: {}\n- {name: other, from: craft, shrink: {keep: 0.1}}\n"
	a := l.mustRun(text)
	b := l.mustRun(text, "seed=2")
	if reused(b) != "xxx" || a.Artifacts[0].Digest == b.Artifacts[0].Digest {
		t.Errorf("%+v", b)
	}
	// A stage's own counts instead, and is written out where the recipe is.
	c := l.mustRun(text, "craft.seed=2")
	if reused(c) != "rrr" || c.Artifacts[0].Digest != b.Artifacts[0].Digest {
		t.Errorf("%+v", c)
	}
	p, err := l.plan(text, "craft.seed=2")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := p.r.Resolved(); err != nil || !strings.Contains(string(out), "seed: 1\n") || !strings.Contains(string(out), "seed: 2\n") {
		t.Errorf("%s %v", out, err)
	}
	if _, err := l.run(text, "shrink.seed=2"); err == nil || !strings.Contains(err.Error(), "stages[1].seed: nothing is left to chance in shrink") {
		t.Error(err)
	}
}

// TestBuiltin: a recipe that comes with pare brings its files, and leaves nothing but its output.
func TestBuiltin(t *testing.T) {
	old := builtins
	defer func() { builtins = old }()
	builtins = fstest.MapFS{
		"tiny.yaml":               {Data: []byte("description: a test\nmodel: ./tiny/base\ndata: {calib: ./tiny/text/*.txt}\nstages:\n- shrink: {}\n- measure: {text: ./tiny/text/a.txt}\n")},
		"tiny/base/model.bin":     {Data: []byte("0123456789")},
		"tiny/base/sub/more.json": {Data: []byte("{}")},
		"tiny/text/a.txt":         {Data: []byte("a")},
		"tiny/text/b.txt":         {Data: []byte("b")},
		"plain.yaml":              {Data: []byte("stages:\n- craft: {}\n")},
	}
	if got := Builtin(); strings.Join(got, " ") != "plain tiny" {
		t.Fatal(got)
	}
	t.Chdir(t.TempDir())
	t.Setenv("TMPDIR", t.TempDir())
	for _, name := range Builtin() {
		r, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(t.Context(), r, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat("pare-out"); name == "plain" && !errors.Is(err, fs.ErrNotExist) {
			t.Error("planning wrote an output directory")
		}
		first, err := Run(t.Context(), r, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if first.Out != filepath.Join("pare-out", name) || first.Artifacts[0].Path != p.Stages[0].Path {
			t.Errorf("%s: %s, planned %s", first.Out, first.Artifacts[0].Path, p.Stages[0].Path)
		}
		second, err := Run(t.Context(), r, Options{Note: func(s string) { t.Log(s) }})
		if err != nil || strings.Contains(reused(second), "x") {
			t.Errorf("%v %v", reused(second), err)
		}
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) != 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
	if _, err := Load("tniy"); err == nil || !strings.Contains(err.Error(), `did you mean "tiny"?`) {
		t.Error(err)
	}
	if text, err := Text("plain"); err != nil || !bytes.Contains(text, []byte("craft")) {
		t.Error(err)
	}
}

// TestPlanIsExact: what is planned is what comes out, and planning writes nothing.
func TestPlanIsExact(t *testing.T) {
	l := newLab(t)
	p, err := l.plan(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.path("out")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("planning wrote something")
	}
	o := l.mustRun(good)
	for i, s := range p.Stages {
		a := o.Artifacts[i]
		m, err := store.ReadManifest(fsx.OS, a.Path)
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != a.Name || s.Path != a.Path || s.Key != m.Key {
			t.Errorf("planned %+v, made %+v", s, a)
		}
		info, err := os.Stat(filepath.Join(a.Path, "model.bin"))
		if err == nil && info.Size() != s.Output {
			t.Errorf("%s: planned %d bytes, made %d", s.Name, s.Output, info.Size())
		}
	}
	if p.Disk != 750+375+675 || p.Memory != 1000 {
		t.Errorf("disk %d, memory %d", p.Disk, p.Memory)
	}
}

// TestManyWarnings: a few are told one by one, many are folded, none is lost.
func TestManyWarnings(t *testing.T) {
	for n, want := range map[string]string{
		"0": "", "3": "craft: odd 0; craft: odd 1; craft: odd 2",
		"9": "craft: odd 0; craft: odd 1; craft: and 7 more of this kind, see pare plan --details",
	} {
		p, err := newLab(t).plan("stages:\n- craft: {}\n", "craft.plan_warns="+n)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(p.Warnings, "; "); got != want {
			t.Errorf("%s: %s", n, got)
		}
		if n == "9" && len(p.Stages[0].Details) != 10 {
			t.Errorf("details: %q", p.Stages[0].Details)
		}
	}
}

// TestLeftovers: work that nobody will go on with is named, not hoarded in silence.
func TestLeftovers(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(150*time.Millisecond, cancel)
	if _, err := l.runCtx(ctx, good, "slim.steps=9", "slim.step_time=50ms"); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	p, err := l.plan(good)
	if err != nil || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], ".work-slim-") {
		t.Errorf("%v %v", p.Warnings, err)
	}
	p, err = l.plan(good, "slim.steps=9", "slim.step_time=50ms")
	if err != nil || len(p.Warnings) != 0 {
		t.Errorf("%v %v", p.Warnings, err)
	}
}
