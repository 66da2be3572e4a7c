// Package quantize makes weights smaller: it chooses a storage format for each matrix and codes for each weight so that
// the model's outputs change least.
//
// An algorithm solves one Problem at a time: a matrix, what is known of its inputs, and the format its rows are to be stored
// in. Each algorithm is one file and knows neither models nor files; formats are those of model/codec, and an algorithm
// that rounds with error feedback works on every format whose codes stand for single values.
package quantize
