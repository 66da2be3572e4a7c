package grammar

import (
	"encoding/json"
	"strings"

	"github.com/parelm/pare/internal/ordered"
)

// object is a JSON object in the order of its keys: properties are written in the order of the schema.
type object = ordered.Object

const maxJSONDepth = 64

func decode(raw []byte) (any, error) {
	return ordered.Decode(string(raw), maxJSONDepth, ordered.Refused)
}

// encode writes a value as JSON without spaces, which is how constants must be written.
func encode(v any) (string, error) {
	switch x := v.(type) {
	case *object:
		var b strings.Builder
		b.WriteByte('{')
		for i, k := range x.Keys {
			if i > 0 {
				b.WriteByte(',')
			}
			key, err := encode(k)
			if err != nil {
				return "", err
			}
			val, err := encode(x.Vals[k])
			if err != nil {
				return "", err
			}
			b.WriteString(key + ":" + val)
		}
		return b.String() + "}", nil
	case []any:
		parts := make([]string, len(x))
		for i, v := range x {
			var err error
			if parts[i], err = encode(v); err != nil {
				return "", err
			}
		}
		return "[" + strings.Join(parts, ",") + "]", nil
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}
