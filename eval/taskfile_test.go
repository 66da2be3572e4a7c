package eval

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func taskDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const quiz = `{"q": "one", "options": {"text": ["a", "b"]}, "key": "B", "n": 1}
{"q": "two", "options": {"text": ["c", "d"]}, "key": "A", "n": 0}
{"q": "three", "options": {"text": ["e", "f"]}, "key": "B", "n": 1}
`

// TestTaskFile reads one data set in the ways that a task file can say.
func TestTaskFile(t *testing.T) {
	for name, c := range map[string]struct {
		yaml            string
		prompt          string // of the last question
		choices         string
		label, n, limit int
	}{
		"letters": {"dataset: d.jsonl\ndoc_to_text: 'Q: {{q}}?'\ndoc_to_choice: '{{options.text}}'\ndoc_to_target: key\n", "Q: three?", " e| f", 1, 3, 0},
		"numbers and templates": {"dataset: d.jsonl\ndoc_to_text: q\ndoc_to_choice: ['<{{options.text[0]}}>', '{{ options.text[1] }}{{n}}']\ndoc_to_target: n\ntarget_delimiter: ''\n",
			"three", "<e>|f1", 1, 3, 0},
		"the text itself": {"dataset: d.jsonl\ndoc_to_text: q\ndoc_to_choice: '{{options.text}}'\ndoc_to_target: '{{options.text[0]}}'\n", "three", " e| f", 0, 3, 0},
		"a fixed target":  {"dataset: d.jsonl\ndoc_to_text: q\ndoc_to_choice: '{{options.text}}'\ndoc_to_target: 1\n", "two", " c| d", 1, 2, 2},
		"examples": {"dataset: d.jsonl\ndescription: 'Answer. '\ndoc_to_text: '{{q}}:'\ndoc_to_choice: '{{options.text}}'\ndoc_to_target: key\nnum_fewshot: 2\n",
			"Answer. one: b\n\ntwo: c\n\nthree:", " e| f", 1, 1, 1},
		"examples of their own": {"dataset: d.jsonl\ndoc_to_text: '{{q}}:'\ndoc_to_choice: '{{options.text}}'\ndoc_to_target: key\nnum_fewshot: 1\nfewshot_dataset: d.jsonl\nfewshot_delimiter: ' / '\n",
			"one: b / three:", " e| f", 1, 3, 0},
		"loglikelihood": {"dataset: d.jsonl\noutput_type: loglikelihood\ndoc_to_text: q\ndoc_to_target: '{{options.text[1]}}'\n", "three", " f", -1, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := taskDir(t, map[string]string{"t.yaml": c.yaml, "d.jsonl": quiz})
			items, k, err := readTask(filepath.Join(dir, "t.yaml"), c.limit)
			if err != nil {
				t.Fatal(err)
			}
			last := items[len(items)-1]
			if len(items) != c.n || last.context(0) != c.prompt || strings.Join(last.choices, "|") != c.choices || last.label != c.label {
				t.Errorf("%d items, the last %+v", len(items), last)
			}
			if k.name != "t" || !strings.Contains(k.protocol, "t.yaml") {
				t.Errorf("kind %+v", k)
			}
		})
	}
}

// TestBadTaskFile: every mistake names its file and line.
func TestBadTaskFile(t *testing.T) {
	rest := "doc_to_text: q\ndoc_to_choice: '{{options.text}}'\ndoc_to_target: key\n"
	for name, c := range map[string]struct{ yaml, want string }{
		"no data":          {rest, "t.yaml:1: dataset: is missing"},
		"unknown key":      {"dataset: d.jsonl\n" + rest + "metrik: x\n", `t.yaml:5: metrik: unknown key (did you mean "metric"?)`},
		"no choices":       {"dataset: d.jsonl\ndoc_to_text: q\ndoc_to_target: key\n", "doc_to_choice: is missing"},
		"no target":        {"dataset: d.jsonl\ndoc_to_text: q\ndoc_to_choice: q\n", "doc_to_target: is missing"},
		"unknown type":     {"dataset: d.jsonl\noutput_type: generate_until\n" + rest, "t.yaml:2: output_type"},
		"missing data":     {"dataset: nothere.jsonl\n" + rest, "nothere.jsonl"},
		"missing field":    {"dataset: d.jsonl\ndoc_to_text: '{{question}}'\ndoc_to_choice: q\ndoc_to_target: key\n", `d.jsonl: line 1: doc_to_text: field "question" is missing`},
		"Jinja":            {"dataset: d.jsonl\ndoc_to_text: '{% if q %}x{% endif %}'\ndoc_to_choice: q\ndoc_to_target: key\n", "nothing else of Jinja"},
		"a filter":         {"dataset: d.jsonl\ndoc_to_text: '{{q|upper}}'\ndoc_to_choice: q\ndoc_to_target: key\n", "{{q|upper}} is no"},
		"out of range":     {"dataset: d.jsonl\ndoc_to_text: q\ndoc_to_choice: '{{options.text}}'\ndoc_to_target: 5\n", "label 5 of 2 choices"},
		"no such answer":   {"dataset: d.jsonl\ndoc_to_text: q\ndoc_to_choice: '{{options.text}}'\ndoc_to_target: q\n", `doc_to_target "one" is none of the 2 choices`},
		"too few examples": {"dataset: d.jsonl\nnum_fewshot: 3\n" + rest, "too few lines"},
		"code":             {"dataset: d.jsonl\nprocess_docs: !function utils.f\n" + rest, "t.yaml:2"},
		"norm of nothing":  {"dataset: d.jsonl\noutput_type: loglikelihood\nmetric: accuracy_norm\ndoc_to_text: q\ndoc_to_target: q\n", "t.yaml:3: metric"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := taskDir(t, map[string]string{"t.yaml": c.yaml, "d.jsonl": quiz})
			_, _, err := readTask(filepath.Join(dir, "t.yaml"), 0)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
}
