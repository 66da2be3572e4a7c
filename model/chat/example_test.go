package chat_test

import (
	"fmt"

	"github.com/parelm/pare/model/chat"
)

func Example() {
	t, err := chat.Parse("chat_template.jinja", `
{%- for m in messages %}
    {{- '<|' + m.role + '|>\n' + m.content | trim + '<|end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>\n' }}
{%- endif %}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := t.Render(&chat.Conversation{
		Messages: []chat.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: " What is <|end|>? "}},
		Generate: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(p.Text)
	fmt.Printf("%q is the user's\n", p.Text[p.User[3].Start:p.User[3].End])
	// Output:
	// <|system|>
	// Be brief.<|end|>
	// <|user|>
	// What is <|end|>?<|end|>
	// <|assistant|>
	// "What is <|end|>?" is the user's
}
