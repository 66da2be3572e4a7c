// Package safetensors reads and writes checkpoints in the safetensors format: one file, or a directory of shards with
// an index.
//
// A file is eight bytes of header length (little endian), a JSON header that gives each tensor's type, shape and byte
// range, and the tensors' bytes, row-major, little endian, without gaps. Reading believes nothing: the header must be
// strict JSON without duplicates, the ranges must start at 0, follow each other without gap or overlap, agree with type
// and shape, and end where the file ends. Nothing is allocated on a claim that the file's size does not back, and no
// tensor is read before somebody asks for its rows.
package safetensors
