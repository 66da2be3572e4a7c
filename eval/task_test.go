package eval

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tokenizer"
)

// TestTasks compares scores on real task sets with those of an independent program.
func TestTasks(t *testing.T) {
	dir := tiny.Shared(t, "assets", "models", "stories260K")
	e := load(t, open(t, "stories260K"))
	tok, err := tokenizer.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ref map[string]json.RawMessage
	data, err := os.ReadFile(filepath.Join(dir, "reference_evals.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &ref); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, key, file string
		limit           int
	}{
		{"pairs", "blimp_1943", "blimp_1943.jsonl", 60},
		{"goals", "piqa_valid_first600", "piqa_valid.jsonl", 20},
		{"choices", "arc_easy_test_first400", "arc_easy_test.jsonl", 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want struct {
				Scores [][]float64 `json:"first_20_scores"`
				Pairs  [][]float64 `json:"first_20_good_bad"`
			}
			if err := json.Unmarshal(ref[c.key], &want); err != nil {
				t.Fatal(err)
			}
			items, _, err := readTask(tiny.Shared(t, "assets", "evals", c.file), 20)
			if err != nil {
				t.Fatal(err)
			}
			s := &scorer{e: e, tok: tok, session: e.NewSession()}
			for i, row := range append(want.Scores, want.Pairs...) {
				for j, w := range row {
					got, _, err := s.score(context.Background(), items[i].context(j), items[i].choices[j])
					if err != nil {
						t.Fatal(err)
					}
					if math.Abs(got-w) > 1e-3 {
						t.Errorf("item %d choice %d: log-likelihood %.5f, want %.5f", i, j, got, w)
					}
				}
			}
		})
	}
	t.Run("last word", func(t *testing.T) {
		r, err := RunTask(context.Background(), e, tok, tiny.Shared(t, "assets", "evals", "lambada_openai_test_2000.jsonl"), 60)
		if err != nil {
			t.Fatal(err)
		}
		if r.N != 60 || r.Value > 0.2 || r.Norm != 0 {
			t.Errorf("%+v", r)
		}
	})
}

// TestMalformed expects every bad file to be refused with the place named.
func TestMalformed(t *testing.T) {
	good := `{"question":"q","choices":["a","b"],"label":1}`
	for name, c := range map[string]struct{ text, want string }{
		"E01 empty":              {"", "no items"},
		"E02 blank lines":        {"\n\n \n", "no items"},
		"E04 invalid JSON":       {good + "\n" + `{"question":`, "line 2"},
		"E05 long line":          {`{"question":"` + strings.Repeat("x", 2<<20) + `"}`, "over 1048576 bytes"},
		"E06 missing field":      {good + "\n" + `{"question":"q","label":1}`, `"choices" is missing`},
		"E06 no kind":            {`{"prompt":"p"}`, "no known kind"},
		"E07 label out of range": {`{"question":"q","choices":["a","b"],"label":2}`, "label 2 of 2"},
		"E07 negative label":     {`{"question":"q","choices":["a","b"],"label":-1}`, "label is -1"},
		"E08 one choice":         {`{"question":"q","choices":["a"],"label":0}`, "two at least"},
		"E08 65 choices":         {`{"question":"q","choices":["` + strings.Repeat(`a","`, 64) + `b"],"label":0}`, "65 choices, the limit is 64"},
		"E08 empty choice":       {`{"question":"q","choices":["a",""],"label":0}`, "choice 1 is empty"},
		"E11 duplicate ids":      {`{"id":"x","question":"q","choices":["a","b"],"label":1}` + "\n" + good + "\n" + `{"id":"x","question":"q","choices":["a","b"],"label":1}`, `line 3: has the id "x" of line 1`},
		"E12 gzip":               {"\x1f\x8b\x08\x00" + strings.Repeat("\x00", 4<<20), "is compressed with gzip"},
		"E09 NUL":                {"{\"question\":\"q\x00\"}", "plain UTF-8"},
		"wrong type":             {`{"question":7,"choices":["a","b"],"label":0}`, `"question" is not a string`},
		"answer not among them":  {`{"question":"q","choices":{"label":["A","B"],"text":["x","y"]},"answerKey":"C"}`, "none of"},
		"no last word":           {`{"text":"word"}`, "no last word"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "task.jsonl")
			if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			_, _, err := readTask(path, 0)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "task.jsonl") {
				t.Errorf("error %v, want one that names the file and says %q", err, c.want)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "task.jsonl")
	if err := os.WriteFile(path, []byte("\ufeff"+good+"\r\n\r\n"+good), 0o644); err != nil {
		t.Fatal(err)
	}
	if items, _, err := readTask(path, 0); err != nil || len(items) != 2 {
		t.Errorf("E03 byte order mark, CRLF and no last newline: %d items, %v", len(items), err)
	}
}

// TestLongPrompts is case E10: a prompt over the context loses its beginning, and is counted; a continuation over it is an
// error. TestLongPrompts also asks a question with equal choices: either is right.
func TestLongPrompts(t *testing.T) {
	files, err := models.Files("llama", 1, nil) // context 128
	if err != nil {
		t.Fatal(err)
	}
	dir := taskDir(t, nil)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	tok, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	e := load(t, m)
	score := func(text string) (*TaskResult, error) {
		return RunTask(t.Context(), e, tok, filepath.Join(taskDir(t, map[string]string{"t.jsonl": text}), "t.jsonl"), 0)
	}
	long := strings.Repeat("The old fox finds a long story. ", 60)
	r, err := score(`{"question":"` + long + `","choices":["a","b"],"label":1}` + "\n" + `{"question":"q","choices":["c","c"],"label":1}`)
	if err != nil {
		t.Fatal(err)
	}
	if r.N != 2 || r.Truncated != 1 || r.Equal != 1 || !r.Correct[1] {
		t.Errorf("%+v", r)
	}
	if _, err := score(`{"question":"q","choices":["a","` + long + `"],"label":1}`); err == nil || !strings.Contains(err.Error(), "over the context of 128") {
		t.Errorf("a choice over the context: %v", err)
	}
}
