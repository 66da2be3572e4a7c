// Package quantize makes weights smaller: it chooses a storage format for each matrix and codes for each weight so that
// the model's outputs change least.
//
// An algorithm solves one Problem at a time: a matrix, what is known of its inputs, and the format its rows are to be stored
// in. Each algorithm is one file and knows neither models nor files; formats are those of model/codec, and an algorithm
// that rounds with error feedback works on every format whose codes stand for single values. An algorithm that is a
// Folder first moves scales between weights, where the model's graph says that this changes nothing.
//
// Plan gives each matrix its format by the rules of a mix that users know (Q4_K_M, W4A16); a budget in bits, bytes or
// divergence chooses by measurement instead. Run does the work, one layer in memory at a time; with a Journal it goes on
// where it was cut short, and ends with the same bytes.
package quantize
