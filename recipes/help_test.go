package recipes

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/parelm/pare/internal/strict"
)

func TestHelp(t *testing.T) {
	topics, err := Help("shrink")
	if err != nil || len(topics) != 1 {
		t.Fatal(topics, err)
	}
	const want = `shrink
  shrink keeps a part of a model, in steps that it can resume.

  keep       number, 0 < x <= 1, default 0.5
      keep is the share of bytes that stays.

  algorithm  name, one of plain, strong, default plain
      algorithm decides how.

  calib      list of files, default data.calib

  teacher    model
      a second model that is mixed in

  steps      whole number, x <= 100
      steps is how many pieces the work has.

  step_time  duration, default 0s
      step_time makes a step slow.

  algorithm: plain
  algorithm: strong - strong is the algorithm that takes more.
`
	if got := topics[0].String(); got != strings.Replace(want, "duration, default 0s", "duration", 1) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	topics, err = Help("strong")
	if err != nil || len(topics) != 1 || topics[0].Within != "shrink" || topics[0].Keys[0].Doc != "strength multiplies every byte." || topics[0].Keys[0].Default != "2" {
		t.Errorf("%+v %v", topics, err)
	}
	if _, err := Help("shrnk"); err == nil || !strings.Contains(err.Error(), `did you mean "shrink"?`) {
		t.Error(err)
	}
}

// TestEveryKeyIsDocumented holds for the recipe itself and for every kind that is registered outside of tests.
func TestEveryKeyIsDocumented(t *testing.T) {
	for _, name := range Topics() {
		topics, err := Help(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range topics {
			if slices.Contains([]string{"craft", "shrink", "measure"}, topic.Name) || slices.Contains([]string{"craft", "shrink", "measure"}, topic.Within) {
				continue
			}
			if topic.Doc == "" && len(topic.Keys) > 0 {
				t.Errorf("%s has no documentation", topic.Name)
			}
			for _, k := range topic.Keys {
				if k.Doc == "" {
					t.Errorf("%s.%s has no documentation", topic.Name, k.Name)
				}
			}
		}
	}
}

// TestSchemaAgrees holds the schema to the decoder: what one takes the other takes.
func TestSchemaAgrees(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	again, _ := Schema()
	if string(again) != string(text) {
		t.Error("differs from call to call")
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	const head = "model: ./base\nstages:\n"
	for _, doc := range []string{
		good, head + "- shrink:\n", head + "- shrink: {keep: 5%}\n", head + "- craft: {size: 3, plan_memory: 3GB}\n", head + "- craft: {plan_memory: 3}\n",
		head + "- measure: {models: base}\n", head + "- shrink: {calib: [a, b], algorithm: strong, strength: 3}\n",
		head + "- shrink: {}\ngate: [{model: shrink, max_size: 3}]\n", head + "- {name: a, shrink: {}}\n- measure: {}\ngate: {model: a, min_accuracy: 50%}\n",
		head + "- {name: a, shrink: {}}\n- measure: {}\ngate: {model: a, min_accuracy: {x: 0.5}}\n", head + "- {name: 3, craft: {step_time: 3}}\n",
		"x: 1\n" + head + "- shrink: {}\n", "model: ./base\n", head + "- {}\n", head + "- {shrink: {}, measure: {}}\n", head + "- shrink: {keep: 2}\n", head + "- shrink: {keep: 0}\n",
		head + "- shrink: {keep: yes}\n", head + "- shrink: {algorithm: magic}\n", head + "- shrink: {kep: 1}\n", head + "- shrink: {steps: 1.5}\n", head + "- shrink: {steps: 101}\n",
		head + "- craft: {plan_memory: 3Q}\n", head + "- shrink: []\n", "stages: 3\n", head + "- shrink: {}\ngate: {max_size: 3}\n", head + "- shrink: {}\ngate: {model: shrink, max_size: x}\n",
		head + "- {name: 'a b', shrink: {}}\n", head + "- {name: a, shrink: {}, extra: 1}\n", "data: {calib: x, test: y}\n" + head + "- shrink: {}\n",
	} {
		_, ours := parse("r.yaml", "/", []byte(doc), nil)
		var v any
		if err := yaml.Load([]byte(doc), &v); err != nil {
			t.Fatal(err)
		}
		theirs := validate(schema, v)
		if (ours == nil) != (theirs == "") {
			t.Errorf("%s\ndecoder: %v\nschema: %s", doc, ours, theirs)
		}
	}
	// Every key that a kind takes is in the schema, with its comment.
	for _, kind := range kindNames() {
		for _, f := range strict.Fields(structs(kinds[kind].New())...) {
			if !strings.Contains(string(text), fmt.Sprintf("%q", f.Key)) {
				t.Errorf("%s.%s is missing", kind, f.Key)
			}
		}
	}
}

// validate checks a value against the part of JSON schema that Schema uses and returns what is wrong.
func validate(s map[string]any, v any) string {
	if types, ok := s["type"]; ok && !hasType(types, v) {
		return fmt.Sprintf("%v is no %v", v, types)
	}
	if p, ok := s["pattern"].(string); ok {
		if text, ok := v.(string); ok && !regexp.MustCompile(p).MatchString(text) {
			return fmt.Sprintf("%q does not match", text)
		}
	}
	if words, ok := s["enum"].([]any); ok && !slices.Contains(words, v) {
		return fmt.Sprintf("%v is none of %v", v, words)
	}
	if list, ok := s["oneOf"].([]any); ok {
		matches, why := 0, ""
		for _, one := range list {
			w := validate(one.(map[string]any), v)
			why += w + "; "
			if w == "" {
				matches++
			}
		}
		if matches != 1 {
			return fmt.Sprintf("%d of the alternatives match %v (%s)", matches, v, why)
		}
	}
	if x, ok := toFloat(v); ok {
		for key, bad := range map[string]func(l float64) bool{
			"minimum": func(l float64) bool { return x < l }, "maximum": func(l float64) bool { return x > l },
			"exclusiveMinimum": func(l float64) bool { return x <= l }, "exclusiveMaximum": func(l float64) bool { return x >= l },
		} {
			if l, ok := s[key].(float64); ok && bad(l) {
				return fmt.Sprintf("%v against %s %v", x, key, l)
			}
		}
	}
	if list, ok := v.([]any); ok {
		for _, e := range list {
			if item, ok := s["items"].(map[string]any); ok {
				if why := validate(item, e); why != "" {
					return why
				}
			}
		}
	}
	m, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	if req, ok := s["required"].([]any); ok {
		for _, k := range req {
			if _, ok := m[k.(string)]; !ok {
				return fmt.Sprintf("%v is missing", k)
			}
		}
	}
	props, _ := s["properties"].(map[string]any)
	for k, e := range m {
		p, ok := props[k].(map[string]any)
		if more, has := s["additionalProperties"].(map[string]any); !ok && has {
			p, ok = more, true
		}
		if !ok && s["additionalProperties"] == false {
			return fmt.Sprintf("%v is too much", k)
		}
		if ok {
			if why := validate(p, e); why != "" {
				return k + ": " + why
			}
		}
	}
	return ""
}

func toFloat(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func hasType(types, v any) bool {
	list, ok := types.([]any)
	if !ok {
		list = []any{types}
	}
	for _, t := range list {
		_, num := toFloat(v)
		_, integer := v.(int)
		_, str := v.(string)
		_, boolean := v.(bool)
		_, arr := v.([]any)
		_, obj := v.(map[string]any)
		if map[string]bool{"number": num, "integer": integer, "string": str, "boolean": boolean, "array": arr, "object": obj, "null": v == nil}[t.(string)] {
			return true
		}
	}
	return false
}
