package chat

import (
	"encoding/json"
	"os"
	"testing"
)

// TestCases renders snippets and compares them with what Jinja2 made of them (testdata/oracle.py --cases).
func TestCases(t *testing.T) {
	var cases []struct{ Template, Out, Error string }
	data, err := os.ReadFile("testdata/cases.out.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	called := samples(t)["called"]
	c := &Conversation{Messages: called.Messages, Tools: called.Tools, BOS: "<s>", Now: now}
	for _, k := range cases {
		var p *Prompt
		tmpl, err := Parse("case", k.Template)
		if err == nil {
			p, err = tmpl.render(attempt{c: c})
		}
		switch {
		case k.Error != "" && err == nil:
			t.Errorf("%s\ngives %q, Jinja2: %s", k.Template, p.Text, k.Error)
		case k.Error != "":
		case err != nil:
			t.Errorf("%s\n%v\nwant %q", k.Template, err, k.Out)
		case p.Text != k.Out:
			t.Errorf("%s\ngives %q\nwant  %q", k.Template, p.Text, k.Out)
		}
	}
}
