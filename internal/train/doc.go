// Package train computes gradients and trains models: the training graph drawn from model.Graph, losses as compositions,
// AdamW, schedules, checkpoints and the loop around them. It is the only package that knows GoMLX, whose graphs and
// automatic differentiation it uses; no GoMLX type appears in what it exports to the packages above.
//
// Graphs run on pare's own backend by default (package cpu below). It implements GoMLX's public backend interface and is
// checked operation by operation against GoMLX's Go backend.
package train
