package ordered

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	v, err := Decode(` {"b": [1, "x", null, {}], "a": true} `, 2, Refused)
	want := &Object{Keys: []string{"b", "a"}, Vals: map[string]any{"a": true, "b": []any{json.Number("1"), "x", nil, &Object{Vals: map[string]any{}}}}}
	if err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("read %v, %v", v, err)
	}
	v, err = Decode(`{"b":1,"a":2,"b":3}`, 1, Last)
	if o, ok := v.(*Object); err != nil || !ok || !reflect.DeepEqual(o.Keys, []string{"b", "a"}) || o.Get("b") != json.Number("3") {
		t.Errorf("a key twice: %v, %v", v, err)
	}
	for text, says := range map[string]string{`{"a":1,"a":2}`: `key "a" stands twice`, `[[[1]]]`: "nested deeper than 2", `{} {}`: "text follows",
		`[1`: "EOF", `{"a"}`: "invalid", ``: "EOF", `{1:2}`: "invalid"} {
		if v, err := Decode(text, 2, Refused); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, %v", text, v, err)
		}
	}
	if _, err := Decode(strings.Repeat("[", 1_000_000), 64, Refused); err == nil {
		t.Error("a million brackets are read")
	}
}
