// Package chat turns a conversation into the prompt a model was trained on, by running the chat template that comes with
// the checkpoint.
//
// Templates are Jinja programs from strangers. They run here in an interpreter of our own that has no way out: no imports,
// no files, no access to Go values, names that begin with an underscore closed, and bounded steps, depth, ranges and
// output (internal/limits). Within those bounds it follows Jinja2 with the settings of the transformers library:
// trim_blocks, lstrip_blocks, loop controls, generation blocks, tojson, raise_exception and strftime_now.
//
// A prompt remembers which of its bytes came from the conversation. A control token's text inside a message stays text
// when the prompt is tokenized: only the template's own bytes can become control tokens.
package chat
