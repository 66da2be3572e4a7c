// Package gguf reads and writes GGUF files, versions 2 and 3, little endian: the container of ggml and llama.cpp.
//
// A file is a header of counts, typed key-value pairs, tensor descriptions, and the aligned tensor data. Tensors come out
// with their dimensions in row-major order (outermost first), the reverse of the file. Metadata keeps its exact types, so
// that a file that is read and written again keeps every bit of it. Files split in the manner of llama.cpp
// (model-00001-of-00003.gguf) open as one.
//
// Reading believes nothing: counts and lengths are checked against the bytes that are left before anything is allocated,
// sizes are computed without wrapping, tensors may neither overlap nor leave the file, names and keys are unique.
package gguf
