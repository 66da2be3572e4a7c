package eval

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The kinds of tasks, by the shape of their lines. Prompts are lm-eval's zero-shot ones.

const qa = "'Question: Q\\nAnswer:', continuation ' choice'; sum of log-likelihoods"

func init() {
	kinds = append(kinds,
		kind{name: "multiple choice", protocol: qa, fields: []string{"question", "choices", "label"}, parse: parseChoices},
		kind{name: "multiple choice", protocol: qa, fields: []string{"question", "choices", "answerKey"}, parse: parseKeyed},
		kind{name: "goal and solutions", protocol: qa, fields: []string{"goal", "sol1", "sol2", "label"}, parse: parseGoal},
		kind{name: "minimal pairs", protocol: "the likelier sentence of a pair; sum of log-likelihoods", fields: []string{"sentence_good", "sentence_bad"}, parse: parsePair},
		kind{name: "yes or no", protocol: qa + ", choices no and yes", fields: []string{"question", "label"}, parse: parseYesNo},
		kind{name: "last word", protocol: "the last word must be the greedy continuation of the text before it", fields: []string{"text"}, parse: parseLastWord},
	)
}

// field decodes one field.
func field[T any](line map[string]json.RawMessage, name string) (T, error) {
	var v T
	if err := json.Unmarshal(line[name], &v); err != nil {
		return v, fmt.Errorf("field %q is not a %T", name, v)
	}
	return v, nil
}

func question(q string, choices []string, label int) *item {
	it := &item{contexts: []string{"Question: " + q + "\nAnswer:"}, label: label}
	for _, c := range choices {
		if c != "" {
			c = " " + c
		}
		it.choices = append(it.choices, c)
	}
	return it
}

func parseChoices(line map[string]json.RawMessage) (*item, error) {
	q, err := field[string](line, "question")
	if err != nil {
		return nil, err
	}
	choices, err := field[[]string](line, "choices")
	if err != nil {
		return nil, err
	}
	label, err := labelOf(line)
	if err != nil {
		return nil, err
	}
	return question(q, choices, label), nil
}

func labelOf(line map[string]json.RawMessage) (int, error) {
	label, err := field[int](line, "label")
	if err == nil && label < 0 {
		err = fmt.Errorf("label is %d", label)
	}
	return label, err
}

// parseKeyed reads choices {label: [A, B...], text: [...]} with the answer's letter.
func parseKeyed(line map[string]json.RawMessage) (*item, error) {
	q, err := field[string](line, "question")
	if err != nil {
		return nil, err
	}
	c, err := field[struct{ Label, Text []string }](line, "choices")
	if err != nil {
		return nil, fmt.Errorf(`field "choices" is not {"label": [...], "text": [...]}`)
	}
	key, err := field[string](line, "answerKey")
	if err != nil {
		return nil, err
	}
	if len(c.Label) != len(c.Text) {
		return nil, fmt.Errorf("%d labels for %d choices", len(c.Label), len(c.Text))
	}
	for i, l := range c.Label {
		if l == key {
			return question(q, c.Text, i), nil
		}
	}
	return nil, fmt.Errorf("answerKey %q is none of %v", key, c.Label)
}

func parseGoal(line map[string]json.RawMessage) (*item, error) {
	var text [3]string
	for i, name := range []string{"goal", "sol1", "sol2"} {
		var err error
		if text[i], err = field[string](line, name); err != nil {
			return nil, err
		}
	}
	label, err := labelOf(line)
	if err != nil {
		return nil, err
	}
	return question(text[0], text[1:], label), nil
}

func parsePair(line map[string]json.RawMessage) (*item, error) {
	good, err := field[string](line, "sentence_good")
	if err != nil {
		return nil, err
	}
	bad, err := field[string](line, "sentence_bad")
	if err != nil {
		return nil, err
	}
	return &item{contexts: []string{""}, choices: []string{good, bad}}, nil
}

func parseYesNo(line map[string]json.RawMessage) (*item, error) {
	q, err := field[string](line, "question")
	if err != nil {
		return nil, err
	}
	yes, err := field[bool](line, "label")
	if err != nil {
		return nil, err
	}
	label := 0
	if yes {
		label = 1
	}
	return question(q, []string{"no", "yes"}, label), nil
}

func parseLastWord(line map[string]json.RawMessage) (*item, error) {
	text, err := field[string](line, "text")
	if err != nil {
		return nil, err
	}
	at := strings.LastIndexByte(text, ' ')
	if at <= 0 || at == len(text)-1 {
		return nil, fmt.Errorf("the text has no last word with something before it")
	}
	return &item{contexts: []string{text[:at]}, choices: []string{text[at:]}, label: -1}, nil
}
