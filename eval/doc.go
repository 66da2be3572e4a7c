// Package eval measures what a model is worth: perplexity, divergence from another model, accuracy on tasks, speed and
// size. It always runs the files that were written, with the runtime that deploys them.
//
// Every figure carries its standard error, the number of items and the protocol it was measured by, so that two figures
// can be compared or refused.
package eval
