// Package model is the drawing of a language model and what it tells.
//
// An architecture is a function that draws its graph; everything else reads the drawing. Each family is one file: it
// reads its config.json into a Config, draws the forward pass against a builder, and lists the names its tensors have
// in the two dialects (Hugging Face and GGUF). The result is a Graph: a list of nodes of a closed set of operations over
// named weights whose dimensions are shared axes. The executors, the quantizer, the pruner, the converters and the report
// read that list; none of them knows what a Llama is.
//
// A Model is a Config, its Graph and lazily opened tensors. Open reads Hugging Face directories and GGUF files.
package model
