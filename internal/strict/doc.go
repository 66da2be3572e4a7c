// Package strict reads YAML that people write, and lets nothing pass that they did not mean.
//
// A document is one mapping of plain values: no anchors, aliases, tags, merge keys or second documents, bounded size and
// depth. It is decoded into Go structs whose fields are the keys; an unknown key, a duplicate, a wrong type or a value out of
// range is an error that names the line and, for names, the nearest one that would have been right. All errors of a
// document are reported at once.
//
// A field's key is its name in snake case (GroupSize is group_size) unless a `yaml` tag says otherwise. More tags:
//
//	min:"0" max:"1"            inclusive bounds, of each element where the field is a list or map
//	above:"0" below:"1"        exclusive bounds
//	oneof:"gptq rtn"           the words that are allowed
//	unit:"bytes"               an int64 that takes 400MB, 1.5GiB or plain bytes
//
// Any float takes a percentage (5% is 0.05), a time.Duration takes 90s, a list takes a single value for a list of one, and a type with
// UnmarshalText takes any scalar. Scalars are read as written: `no`, 0x10 and 1_000 are text, never booleans or numbers.
package strict
