// Package cpu runs array programs on the CPU: the executor behind pare's training.
//
// A Program is a list of nodes in the order they were added; adding a node simplifies it on the spot and returns an
// equal one where it exists. Compile turns a program into steps: matrix products that read their operands through
// strides, loops that compute whole chains of elementwise operations and row reductions while a tile stays in the
// first-level cache, and kernels for what neither covers. Buffers live in one arena, placed by lifetime.
//
// Results are the same, bit for bit, for any number of threads: chunk borders and the order of every sum depend on
// sizes alone. Eval is the slow twin: it computes node by node from the definition of each operation.
//
// Programs use float32 for what must be fast; the other types are there for indices, masks, random bits and tests.
package cpu
