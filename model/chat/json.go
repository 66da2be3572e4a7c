package chat

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/internal/ordered"
)

// fromJSON reads a JSON document inside a template.
func fromJSON(r *run, t text) any {
	r.step(int64(len(t.s) / 4))
	v, err := decodeJSON(t.s)
	if err != nil {
		fail("from_json: %v", err)
	}
	return v
}

// decodeJSON reads one JSON value, keeping the order of keys. Its strings count as the conversation's.
func decodeJSON(s string) (any, error) {
	v, err := ordered.Decode(s, int(limits.TemplateDepth), ordered.Last)
	if err != nil {
		return nil, err
	}
	return fromOrdered(v)
}

func fromOrdered(v any) (any, error) {
	switch x := v.(type) {
	case []any:
		for i := range x {
			var err error
			if x[i], err = fromOrdered(x[i]); err != nil {
				return nil, err
			}
		}
		return &list{items: x}, nil
	case *ordered.Object:
		m := newDict()
		for _, k := range x.Keys {
			w, err := fromOrdered(x.Vals[k])
			if err != nil {
				return nil, err
			}
			m.set(foreign(k), w)
		}
		return m, nil
	case json.Number:
		if n, err := strconv.ParseInt(string(x), 10, 64); err == nil && n > math.MinInt64 {
			return n, nil
		}
		return x.Float64()
	case string:
		return foreign(x), nil
	}
	return v, nil // bool or nil
}
