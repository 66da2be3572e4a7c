package chat

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/parelm/pare/internal/limits"
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
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("text follows the JSON value")
	}
	return v, nil
}

func decodeValue(d *json.Decoder, depth int64) (any, error) {
	if depth > limits.TemplateDepth {
		return nil, fmt.Errorf("JSON is nested deeper than %d", limits.TemplateDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch x := t.(type) {
	case json.Delim:
		if x == '[' {
			l := &list{items: []any{}}
			for d.More() {
				v, err := decodeValue(d, depth+1)
				if err != nil {
					return nil, err
				}
				l.items = append(l.items, v)
			}
			_, err := d.Token()
			return l, err
		}
		m := newDict()
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			m.set(foreign(fmt.Sprint(k)), v)
		}
		_, err := d.Token()
		return m, err
	case json.Number:
		if n, err := strconv.ParseInt(string(x), 10, 64); err == nil && n > math.MinInt64 {
			return n, nil
		}
		return x.Float64()
	case string:
		return foreign(x), nil
	}
	return t, nil // bool or nil
}
