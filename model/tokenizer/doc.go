// Package tokenizer turns text into token ids and back, exactly as the program a vocabulary comes from does.
//
// One type, Tokenizer, serves calibration, training, evaluation and generation. Open reads what a checkpoint directory holds
// (tokenizer.json, tokenizer.model, vocab.json with merges.txt) together with tokenizer_config.json; FromGGUF reads the vocabulary of a
// GGUF file, and GGUF gives the values that a GGUF writer stores; Train makes a byte-level BPE vocabulary from text.
//
// All sources are brought into the terms of tokenizer.json, a pipeline:
//
//	text -> added tokens -> normalizer -> pre-tokenizer -> model -> post-processor -> ids
//	ids  -> pieces -> decoder -> text
//
// Whatever cannot be done exactly is refused by name when a file is opened. Encoding takes linear time on any text.
package tokenizer
