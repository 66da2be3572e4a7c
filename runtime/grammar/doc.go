// Package grammar holds generated text to a grammar: GBNF, the notation of llama.cpp, or a JSON schema.
//
// A Grammar is compiled to rules over bytes. What may follow a text is a set of stacks of places in those rules, as in
// any recognizer of context-free languages. Stacks and sets are interned, and the step from a set by a byte is
// remembered, so that the recognizer becomes a finite automaton as it runs: the second string of a JSON document costs
// one table look-up a byte. A Vocabulary keeps the tokens' bytes as a trie in one array; the set of tokens that may come
// next is one walk over it, cut short wherever a byte is not allowed, and is remembered for each state.
package grammar
