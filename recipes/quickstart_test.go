package recipes

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/par"
)

// brief makes the quickstart take seconds: every stage is real, on less text.
var brief = []string{
	"pruned.num_calibration_samples=2", "pruned.max_seq_length=64", "student.steps=2", "student.batch_size=2", "student.max_seq_length=64",
	"student.validation=0", "student-q4.num_calibration_samples=2", "student-q4.max_seq_length=64", "student-w4a16.num_calibration_samples=2",
	"student-w4a16.max_seq_length=64", "pruned-q4.num_calibration_samples=2", "pruned-q4.max_seq_length=64", "report.max_tokens=300",
	"report.bench_prompt=8", "report.bench_generate=4",
}

// quickstart runs the built-in recipe from an empty directory. The gate is for the whole text.
func quickstart(t *testing.T, out string, sets ...string) *Outcome {
	t.Helper()
	r, err := Load("quickstart", sets...)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Run(context.Background(), r, Options{Out: out})
	if o == nil {
		t.Fatal(err)
	}
	return o
}

// TestQuickstart takes the recipe that comes with pare through all of its stages: the small student is at most a sixth of
// the teacher, the same for any number of threads, and made once.
func TestQuickstart(t *testing.T) {
	defer par.SetThreads(0)
	t.Chdir(t.TempDir()) // a user's directory, with nothing in it
	sets, most := brief, 2
	if full {
		sets, most = nil, 3
	}
	var want string
	for threads := 1; threads <= most; threads++ {
		par.SetThreads(threads)
		out := filepath.Join(t.TempDir(), "out")
		o := quickstart(t, out, sets...)
		if want == "" {
			want = digests(o)
		}
		if digests(o) != want {
			t.Errorf("%d threads made something else", threads)
		}
		if threads > 1 {
			continue
		}
		for _, f := range []string{o.Report.HTML, o.Report.MD, o.Report.JSON} {
			if st, err := os.Stat(f); err != nil || st.Size() == 0 {
				t.Errorf("report %s: %v", f, err)
			}
		}
		card, err := os.ReadFile(findOne(t, out, "*/student-q4-card.md"))
		if err != nil || !strings.Contains(string(card), "## Evaluation") || !strings.Contains(string(card), "## What each matrix lost") {
			t.Errorf("the card with what was measured: %v\n%s", err, card)
		}
		teacher := modelBytes(t, filepath.Join(findOne(t, out, "assets-*"), "quickstart", "teacher"))
		for _, a := range o.Artifacts {
			if a.Name == "student-q4" && a.Bytes*6 > teacher {
				t.Errorf("student-q4 has %d bytes, the teacher %d: more than a sixth", a.Bytes, teacher)
			}
		}
		for _, a := range quickstart(t, out, sets...).Artifacts {
			if !a.Reused {
				t.Errorf("%s was made again", a.Name)
			}
		}
	}
}

func findOne(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
}
