package eval

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model/tensor"
)

// A task file says how the lines of a data set become questions, for lines whose shape no kind knows. It is the declarative
// part of lm-eval's task format: no code, no downloads, and {{field}} in place of all of Jinja.

// TaskFile is a task in YAML.
type TaskFile struct {
	// Task is the name of the task.
	Task string `yaml:"task"`
	// Dataset is the file of JSON lines, beside this one.
	Dataset string `yaml:"dataset"`
	// OutputType is multiple_choice, where the likeliest choice counts as the answer, or loglikelihood, where the target must
	// be what the model would say.
	OutputType string `yaml:"output_type" oneof:"multiple_choice loglikelihood"`
	// Description stands in front of every prompt.
	Description string `yaml:"description"`
	// DocToText is the prompt: a template or the name of a field.
	DocToText string `yaml:"doc_to_text"`
	// DocToChoice are the choices: a template each, or one template or name of a field that holds a list.
	DocToChoice []string `yaml:"doc_to_choice"`
	// DocToTarget is the right answer: the number of the choice from 0, its letter or its text, as a template or the name of
	// a field; for loglikelihood its text.
	DocToTarget string `yaml:"doc_to_target"`
	// TargetDelimiter stands between prompt and answer.
	TargetDelimiter string `yaml:"target_delimiter"`
	// NumFewshot is how many answered examples come before each question.
	NumFewshot int `yaml:"num_fewshot" min:"0" max:"64"`
	// FewshotDataset holds the examples; without it they are the first of the data set, which are then not asked.
	FewshotDataset string `yaml:"fewshot_dataset"`
	// FewshotDelimiter stands behind each example.
	FewshotDelimiter string `yaml:"fewshot_delimiter"`
	// Metric is accuracy, or accuracy_norm for log-likelihoods per byte of the choice.
	Metric string `yaml:"metric" oneof:"accuracy accuracy_norm"`

	path string
}

// NewTaskFile returns a task that holds the defaults.
func NewTaskFile() *TaskFile {
	return &TaskFile{OutputType: "multiple_choice", TargetDelimiter: " ", FewshotDelimiter: "\n\n", Metric: "accuracy"}
}

// isTaskFile reports whether a path is a task in YAML.
func isTaskFile(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".yaml" || ext == ".yml"
}

// ReadTaskFile reads a task in YAML. Its errors name the line.
func ReadTaskFile(path string) (*TaskFile, error) {
	data, err := fsx.ReadLimited(path, limits.Recipe)
	if err != nil {
		return nil, err
	}
	doc, err := strict.Parse(path, data, limits.RecipeDepth)
	if err != nil {
		return nil, err
	}
	f := NewTaskFile()
	f.path = path
	root := doc.Root()
	if err := root.Decode(f); err != nil {
		return nil, err
	}
	switch {
	case f.Dataset == "":
		err = strict.Bad("dataset", "is missing: name a file of JSON lines")
	case f.DocToTarget == "":
		err = strict.Bad("doc_to_target", "is missing")
	case f.OutputType == "multiple_choice" && len(f.DocToChoice) == 0:
		err = strict.Bad("doc_to_choice", "is missing")
	case f.OutputType == "loglikelihood" && f.Metric != "accuracy":
		err = strict.Bad("metric", "%s needs choices", f.Metric)
	}
	if err != nil {
		return nil, root.At(err)
	}
	if f.Task == "" {
		f.Task = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	}
	return f, nil
}

// Files returns the data that the task reads.
func (f *TaskFile) Files() []string {
	list := []string{f.beside(f.Dataset)}
	if f.FewshotDataset != "" {
		list = append(list, f.beside(f.FewshotDataset))
	}
	return list
}

func (f *TaskFile) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(f.path), name)
}

// TaskName returns what a task is called without a name of its own: what its file says, or the file's name.
func TaskName(path string) (string, error) {
	if isTaskFile(path) {
		f, err := ReadTaskFile(path)
		if err != nil {
			return "", err
		}
		return f.Task, nil
	}
	return strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), nil
}

// TaskFiles returns the files that a task reads beside its own: none for JSON lines.
func TaskFiles(path string) ([]string, error) {
	if !isTaskFile(path) {
		return nil, nil
	}
	f, err := ReadTaskFile(path)
	if err != nil {
		return nil, err
	}
	return f.Files(), nil
}

// items reads the data.
func (f *TaskFile) items(limit int) ([]*item, *kind, error) {
	k := &kind{name: f.Task, parse: f.parse, norm: f.Metric == "accuracy_norm"}
	k.protocol = fmt.Sprintf("%s of %s, %d examples before each question, %s", f.OutputType, filepath.Base(f.path), f.NumFewshot, f.Metric)
	if limit > 0 && f.FewshotDataset == "" {
		limit += f.NumFewshot
	}
	all, err := readLines(f.beside(f.Dataset), limit, k)
	if err != nil || f.NumFewshot == 0 {
		return all, k, err
	}
	shots := all
	if f.FewshotDataset != "" {
		if shots, err = readLines(f.beside(f.FewshotDataset), f.NumFewshot, k); err != nil {
			return nil, nil, err
		}
	}
	if len(shots) < f.NumFewshot || f.FewshotDataset == "" && len(all) == f.NumFewshot {
		return nil, nil, tensor.Errorf(tensor.ErrInvalid, f.path, "num_fewshot", "is %d, the data has too few lines for that (%d)", f.NumFewshot, len(shots))
	}
	shots = shots[:f.NumFewshot]
	if f.FewshotDataset == "" {
		all = all[f.NumFewshot:]
	}
	var head strings.Builder
	head.WriteString(f.Description)
	for _, s := range shots {
		head.WriteString(strings.TrimPrefix(s.contexts[0], f.Description) + s.choices[max(s.label, 0)] + f.FewshotDelimiter)
	}
	for _, it := range all {
		it.contexts[0] = head.String() + strings.TrimPrefix(it.contexts[0], f.Description)
	}
	return all, k, nil
}

// parse makes a question of a line.
func (f *TaskFile) parse(line map[string]json.RawMessage) (*item, error) {
	doc := map[string]any{}
	for key, raw := range line {
		var v any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber() // as written
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("field %q: %v", key, err)
		}
		doc[key] = v
	}
	text, err := fillText(f.DocToText, doc)
	if err != nil {
		return nil, fmt.Errorf("doc_to_text: %w", err)
	}
	target, err := fillText(f.DocToTarget, doc)
	if err != nil {
		return nil, fmt.Errorf("doc_to_target: %w", err)
	}
	it := &item{contexts: []string{f.Description + text}, label: -1}
	if f.OutputType == "loglikelihood" {
		it.choices = []string{f.TargetDelimiter + target}
		return it, nil
	}
	var choices []string
	for _, c := range f.DocToChoice {
		v, err := fill(c, doc)
		if err != nil {
			return nil, fmt.Errorf("doc_to_choice: %w", err)
		}
		if list, ok := v.([]any); ok {
			for _, x := range list {
				choices = append(choices, say(x))
			}
		} else {
			choices = append(choices, say(v))
		}
	}
	if it.label, err = which(target, choices); err != nil {
		return nil, err
	}
	for _, c := range choices {
		if c != "" { // an empty one is refused later
			c = f.TargetDelimiter + c
		}
		it.choices = append(it.choices, c)
	}
	return it, nil
}

// which finds the right choice: by number, by text, by letter.
func which(target string, choices []string) (int, error) {
	if i, err := strconv.Atoi(target); err == nil {
		if i < 0 {
			return 0, fmt.Errorf("doc_to_target is %d", i)
		}
		return i, nil
	}
	if i := slices.Index(choices, target); i >= 0 {
		return i, nil
	}
	if len(target) == 1 && target[0] >= 'A' && int(target[0]-'A') < len(choices) {
		return int(target[0] - 'A'), nil
	}
	return 0, fmt.Errorf("doc_to_target %q is none of the %d choices", clip(target), len(choices))
}

var reference = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*|\[\d+\])*$`)
var step = regexp.MustCompile(`[A-Za-z_]\w*|\d+`)

// fill puts fields into a template: the value itself where the template is one reference or the name of a field.
func fill(template string, doc map[string]any) (any, error) {
	if v, ok := doc[template]; ok {
		return v, nil
	}
	var out strings.Builder
	for rest := template; ; {
		before, after, found := strings.Cut(rest, "{{")
		if strings.Contains(before, "{%") {
			return nil, fmt.Errorf("templates hold {{field}} and nothing else of Jinja: %q", clip(template))
		}
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		expr, tail, closed := strings.Cut(after, "}}")
		expr = strings.TrimSpace(expr)
		if !closed || !reference.MatchString(expr) {
			return nil, fmt.Errorf("{{%s}} is no {{field}}, {{field.part}} or {{field[0]}}", clip(expr))
		}
		v, err := lookup(expr, doc)
		if err != nil {
			return nil, err
		}
		if out.Len() == 0 && tail == "" {
			return v, nil
		}
		out.WriteString(say(v))
		rest = tail
	}
}

func fillText(template string, doc map[string]any) (string, error) {
	v, err := fill(template, doc)
	if err != nil {
		return "", err
	}
	switch v.(type) {
	case string, json.Number, bool:
		return say(v), nil
	}
	return "", fmt.Errorf("%q is neither text nor a number", clip(template))
}

func lookup(expr string, doc map[string]any) (any, error) {
	var v any = doc
	for _, s := range step.FindAllString(expr, -1) {
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[s]
			if !ok {
				return nil, fmt.Errorf("field %q is missing", expr)
			}
			v = next
		case []any:
			i, err := strconv.Atoi(s)
			if err != nil || i >= len(at) {
				return nil, fmt.Errorf("field %q is missing", expr)
			}
			v = at[i]
		default:
			return nil, fmt.Errorf("field %q is missing", expr)
		}
	}
	return v, nil
}

// say formats a value as lm-eval's templates do.
func say(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case json.Number:
		return x.String()
	case bool:
		if x {
			return "True"
		}
		return "False"
	}
	b, _ := json.Marshal(v) // came from JSON
	return string(b)
}
