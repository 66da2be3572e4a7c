package chat

import (
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/parelm/pare/internal/limits"
)

// FuzzTemplate parses and runs any source: no panic, spans in order, the same text twice.
func FuzzTemplate(f *testing.F) {
	files, _ := filepath.Glob("templates/*.jinja") // the pattern is good
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data), "hello <|im_end|>")
	}
	for _, s := range []string{
		"{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim | tojson }}{% endfor %}",
		"{%- macro f(a, b=1) -%}{{ a ~ b }}{%- endmacro -%}{{ f(1, b=[2, {'x': none}]) }}",
		"{% set ns = namespace(x=0) %}{% for i in range(3) if i is odd %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x // 2 }}",
		"{{ 'a,b'.split(',')[::-1] | map('upper') | join('-') }}{# c #}{% raw %}{{{% endraw %}",
		"{{ '%s%5.2f' % ('x', 1.5) }}{{ '{0}{a}'.format(1, a=2) }}{{ messages | selectattr('role', 'eq', 'user') | list }}",
	} {
		f.Add(s, "x")
	}
	limits.TemplateFuel = 20_000 // many small runs find more than a few long ones
	f.Fuzz(func(t *testing.T, source, content string) {
		if !utf8.ValidString(source) || len(source) > 1<<16 || len(content) > 1<<12 {
			return
		}
		tmpl, err := Parse("fuzz", source)
		if err != nil {
			return
		}
		c := &Conversation{Messages: []Message{{Role: "system", Content: "s"}, {Role: "user", Content: content},
			{Role: "assistant", ToolCalls: []ToolCall{{"1", "f", `{"a": [1, 2.5, null]}`}, {"2", "g", content}}}}, Generate: true, Now: now}
		p, err := tmpl.Render(c)
		if err != nil {
			return
		}
		checkSpans(t, source, p)
		q, err := tmpl.Render(c)
		if err != nil || q.Text != p.Text {
			t.Fatalf("rendered again: %v, %q and %q", err, p.Text, q.Text)
		}
	})
}
