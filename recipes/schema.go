package recipes

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/parelm/pare/internal/strict"
)

// object is a piece of JSON schema. Maps are written with sorted keys, so the schema is the same every time.
type object = map[string]any

// Schema returns the JSON schema (draft 7) of recipes, for editors.
func Schema() ([]byte, error) {
	docs := newDocs(ownSource)
	gate := closed(docs.topic("gate", &Gate{}))
	gate["required"] = []string{"model"}
	props := properties(docs.topic("recipe", &Recipe{}))
	props["data"] = closed(docs.topic("data", &Data{}))
	props["gate"] = object{"description": docs.types["recipes.Gate"], "oneOf": []any{gate, object{"type": "array", "items": gate}}}
	props["stages"] = object{"type": "array", "minItems": 1, "items": step(), "description": docs.fields["recipes.Recipe.Stages"]}
	top := object{
		"$schema": "http://json-schema.org/draft-07/schema#", "title": "pare recipe",
		"type": "object", "properties": props, "additionalProperties": false, "required": []string{"stages"},
	}
	data, err := json.MarshalIndent(top, "", "  ")
	return append(data, '\n'), err
}

// step is the schema of one stage: a name, a beginning, and exactly one kind.
func step() object {
	docs := newDocs(ownSource)
	props := object{
		"name": object{"type": "string", "pattern": stageName.String(), "description": docs.fields["recipes.Step.Name"]},
		"from": object{"type": "string", "description": docs.fields["recipes.Step.From"]},
		"seed": object{"type": "integer", "minimum": 0, "description": docs.fields["recipes.Step.Seed"]},
	}
	var one []any
	for _, name := range kindNames() {
		k := kinds[name]
		s := k.New()
		docs := newDocs(k.Sources...)
		topic := docs.topic(name, s)
		for _, v := range variants(s) {
			if v.Nested {
				continue
			}
			for _, key := range docs.variant(v).Keys {
				key.Doc = strings.TrimSpace("(" + v.Key + ": " + v.Value + ") " + key.Doc)
				if !slices.ContainsFunc(topic.Keys, func(have Key) bool { return have.Name == key.Name }) {
					topic.Keys = append(topic.Keys, key)
				}
			}
		}
		kind := closed(topic)
		kind["type"] = []string{"object", "null"}
		props[name] = kind
		one = append(one, object{"required": []string{name}})
	}
	return object{"type": "object", "properties": props, "additionalProperties": false, "oneOf": one}
}

// closed is the schema of a mapping that takes these keys and no others.
func closed(t Topic) object {
	return object{"type": "object", "properties": properties(t), "additionalProperties": false, "description": t.Doc}
}

func properties(t Topic) object {
	props := object{}
	for _, k := range t.Keys {
		p := typeSchema(k.field.Value.Type(), k.field.Tag)
		if k.Doc != "" {
			p["description"] = k.Doc
		}
		if !k.field.Value.IsZero() {
			p["default"] = strict.Plain(k.field.Value)
		}
		props[k.Name] = p
	}
	return props
}

const percentPattern = `^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?%$`

// schematic is a type that knows its own schema.
type schematic interface{ JSONSchema() map[string]any }

// typeSchema is the schema of what a field takes, as package strict reads it.
func typeSchema(t reflect.Type, tag reflect.StructTag) object {
	switch {
	case t.Implements(reflect.TypeFor[schematic]()):
		return reflect.Zero(t).Interface().(schematic).JSONSchema()
	case tag.Get("unit") == "bytes":
		return object{"type": []string{"integer", "string"}, "pattern": `^[0-9]+(\.[0-9]+)? ?(B|[KkMGT]B|[KMGT]iB)?$`}
	case t == reflect.TypeFor[time.Duration]():
		return object{"type": "string"}
	case t == reflect.TypeFor[Floors]():
		return object{"oneOf": []any{typeSchema(reflect.TypeFor[float64](), tag), typeSchema(reflect.TypeFor[map[string]float64](), tag)}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeSchema(t.Elem(), tag)
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"oneOf": []any{bounds(object{"type": "number"}, tag), object{"type": "string", "pattern": percentPattern}}}
	case reflect.String:
		if words := strings.Fields(tag.Get("oneof")); len(words) > 0 {
			return object{"enum": words}
		}
		return object{"type": []string{"string", "number", "boolean"}}
	case reflect.Slice:
		item := typeSchema(t.Elem(), tag)
		return object{"oneOf": []any{object{"type": "array", "items": item}, item}}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": typeSchema(t.Elem(), tag)}
	case reflect.Struct:
		s := closed(newDocs().topic("", reflect.New(t).Interface()))
		if reflect.PointerTo(t).Implements(reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()) {
			return object{"oneOf": []any{s, object{"type": []string{"string", "number"}}}}
		}
		return s
	}
	return bounds(object{"type": "integer"}, tag)
}

func bounds(o object, tag reflect.StructTag) object {
	for name, key := range map[string]string{"min": "minimum", "max": "maximum", "above": "exclusiveMinimum", "below": "exclusiveMaximum"} {
		if s, ok := tag.Lookup(name); ok {
			if x, err := strict.ParseReal(s); err == nil {
				o[key] = x
			}
		}
	}
	return o
}
