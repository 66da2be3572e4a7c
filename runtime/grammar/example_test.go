package grammar_test

import (
	"fmt"

	"github.com/parelm/pare/runtime/grammar"
)

func Example() {
	g, err := grammar.JSONSchema([]byte(`{"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "maximum": 150}}, "required": ["name"]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(g.Match(`{"name": "Ada", "age": 36}`), g.Match(`{"name": "Ada", "age": 360}`))

	// A model's tokens are held to it by a matcher: here a vocabulary of single bytes and an end.
	v := grammar.NewVocabulary(257, func(id int32) []byte {
		if id == 256 {
			return nil
		}
		return []byte{byte(id)}
	}, []int32{256})
	m := g.NewMatcher(v)
	fmt.Println(m.Allowed('{'), m.Allowed('['), m.Allowed(256))
	// Output:
	// true false
	// true false false
}
