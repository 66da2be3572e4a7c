package model

import (
	"fmt"
	"slices"
)

// A GGUF file says less than config.json, and llama.cpp reads less than a file says. What it computes otherwise is known
// from running both on the same files: this is what users are told about it.

// notThere is said of families that llama.cpp does not have.
const notThere = "llama.cpp does not load it: it has no such architecture"

// slides lists the GGUF architectures whose windows llama.cpp knows.
var slides = map[string]bool{"gemma2": true, "gemma3": true, "cohere2": true, "olmo2": true, "exaone4": true, "gpt-oss": true}

// LlamaCPP says in a sentence each what llama.cpp computes otherwise from the model's GGUF file, or why it does not load it.
// pare itself reads its GGUF files back exactly.
func (m *Model) LlamaCPP() []string {
	var notes []string
	c := m.Config
	if f := c.Family.LlamaCPP; f != nil {
		if note := f(c); note != "" {
			notes = append(notes, note)
		}
	}
	if note := c.windowed(); note != "" && !slides[c.Family.gguf()] && !slices.Contains(notes, notThere) {
		notes = append(notes, note)
	}
	return notes
}

// wholeHeads tells of heads that are wider or narrower than their share of the hidden size.
func (c *Config) wholeHeads() string {
	l := &c.Layers[0]
	return when(l.Heads*l.HeadDim != c.Hidden, "llama.cpp does not load it: it wants heads that make up the hidden size in this architecture")
}

// windowed tells of windows that llama.cpp passes over.
func (c *Config) windowed() string {
	for i := range c.Layers {
		if w := c.Layers[i].Window; w > 0 {
			return when(w < c.Context, "llama.cpp has no sliding window in the architecture %s: texts longer than %d tokens come out otherwise", c.Family.gguf(), w)
		}
	}
	return ""
}

// mixedLayers tells of layers that are no mixtures among those that are.
func (c *Config) mixedLayers() string {
	return when(c.first(false) != nil && c.first(true) != nil, "llama.cpp does not load it: it wants experts in every layer of this architecture")
}

// normalized reports whether the weights of the chosen experts are made to sum to 1.
func (c *Config) normalized() bool {
	l := c.first(true)
	return l != nil && l.Route.Normalize
}

// when returns a sentence where a condition holds.
func when(yes bool, format string, args ...any) string {
	if !yes {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

// first returns the first sentence that says something.
func first(notes ...string) string {
	for _, n := range notes {
		if n != "" {
			return n
		}
	}
	return ""
}
