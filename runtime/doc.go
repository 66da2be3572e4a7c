// Package runtime executes a model fast on the CPU: it compiles the graph to a plan of fused steps over shared buffers and
// runs it on batches of tokens, with a key/value cache, on all cores.
//
// An Engine is a loaded model; a Session is one sequence with its cache. Results are the same bits for any number of
// threads, for a sequence alone or in a batch, and for a prompt given whole or in pieces.
package runtime
