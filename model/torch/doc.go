// Package torch reads checkpoints of PyTorch programs: the zip archives that torch.save writes (pytorch_model.bin, .pt,
// .pth), one file or shards with an index, and the .bin files of llama2.c.
//
// A torch archive holds a pickle, which is a program for a small stack machine, and one file for each storage. The
// reader interprets only the instructions that build plain containers, and calls nothing: the few functions that make
// tensors are known by name, instances of other classes become inert records, and a call of any other function is an
// error that names it. Files from before torch 1.6, which are no archives, are refused.
package torch
