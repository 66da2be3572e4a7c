package cli

import (
	"strings"
	"testing"
)

// TestSpeech prints thoughts apart from answers.
func TestSpeech(t *testing.T) {
	for _, c := range []struct {
		parts [][2]string
		want  string
	}{
		{[][2]string{{"", " \n Yes"}, {"", " it is."}}, "Yes it is.\n"},
		{[][2]string{{"Is", ""}, {" it?", ""}, {"", "Yes."}}, "(Is it?) Yes.\n"},
		{[][2]string{{"Is it?", "\nYes."}}, "(Is it?) Yes.\n"},
		{[][2]string{{"cut", ""}}, "(cut) \n"},
		{nil, "\n"},
	} {
		var out strings.Builder
		s := speech{out: &out, before: "(", after: ") "}
		for _, p := range c.parts {
			s.add(p[0], p[1])
		}
		if s.end(); out.String() != c.want {
			t.Errorf("%v: %q, want %q", c.parts, out.String(), c.want)
		}
	}
}
