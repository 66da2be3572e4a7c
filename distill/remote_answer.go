package distill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parelm/pare/model/tensor"
)

// What servers answer, and whether it can be true.

// guess is a token that a server names, with ln p.
type guess struct {
	id int32 // -1 for a piece of text that stands for no one token
	ln float64
}

// completion is the answer to /v1/completions.
type completion struct {
	Choices []struct {
		Logprobs *logprobs `json:"logprobs"`
	}
	Usage struct {
		Prompt *int `json:"prompt_tokens"`
	}
}

// logprobs are those of OpenAI's completions, or of its chats, which llama.cpp uses for completions too.
type logprobs struct {
	Tokens  []string              `json:"tokens"`
	Top     []map[string]*float64 `json:"top_logprobs"`
	Content []struct {
		Top []struct {
			ID      *int32   `json:"id"`
			Token   string   `json:"token"`
			Logprob *float64 `json:"logprob"`
		} `json:"top_logprobs"`
	} `json:"content"`
}

// lie is an error about an answer.
func (t *remote) lie(format string, args ...any) error {
	return fmt.Errorf("remote teacher: %s: the answer %s: %w", t.base, fmt.Sprintf(format, args...), tensor.ErrCorrupt)
}

// complete asks the server to go on after ids by one token. It returns the lists of likely tokens: of the one that it wrote, behind
// those of the prompt's where the server tells about them.
func (t *remote) complete(ctx context.Context, ids []int32, echo bool) ([][]guess, error) {
	body := map[string]any{"model": t.Model, "prompt": ids, "max_tokens": 1, "temperature": 1, "logprobs": t.TopLogprobs, "echo": echo, "seed": 0}
	var a completion
	if !t.plain { // vLLM then names tokens by number; servers that do not know the key ignore or refuse it
		body["return_tokens_as_token_ids"] = true
	}
	err := t.call(ctx, "/v1/completions", body, &a)
	var refused *refusal
	if !t.asked && !t.plain && errors.As(err, &refused) && (refused.code == 400 || refused.code == 422) {
		t.plain = true
		return t.complete(ctx, ids, echo)
	}
	if err != nil {
		return nil, err
	}
	if len(a.Choices) != 1 || a.Choices[0].Logprobs == nil {
		return nil, t.lie("has %d choices and no logprobs", len(a.Choices))
	}
	if n := a.Usage.Prompt; n != nil && *n != len(ids) {
		return nil, t.lie("counts %d tokens in a prompt of %d: the server adds or cuts tokens", *n, len(ids))
	}
	l := a.Choices[0].Logprobs
	if err := t.samePieces(l.Tokens, ids, echo); err != nil {
		return nil, err
	}
	var lists [][]guess
	for _, m := range l.Top {
		var list []guess
		for text, ln := range m {
			if ln == nil {
				return nil, t.lie("gives token %q no log-probability", text)
			}
			list = append(list, guess{t.id(text), *ln})
		}
		lists = append(lists, list)
	}
	for _, c := range l.Content {
		var list []guess
		for _, x := range c.Top {
			if x.Logprob == nil {
				return nil, t.lie("gives token %q no log-probability", x.Token)
			}
			g := guess{t.id(x.Token), *x.Logprob}
			if x.ID != nil {
				g.id = *x.ID
			}
			list = append(list, g)
		}
		lists = append(lists, list)
	}
	return lists, nil
}

// samePieces holds the tokens that a server repeats against those it was sent.
func (t *remote) samePieces(tokens []string, ids []int32, echo bool) error {
	if !echo || len(tokens) < len(ids) {
		return nil // it repeats none
	}
	for i, id := range ids {
		if got := t.id(tokens[i]); got >= 0 && got != id && strings.TrimSpace(tokens[i]) != "" {
			return t.lie("calls token %d of the prompt, %d %q, %q: its tokenizer is not the student's", i, id, t.tok.Bytes(id), tokens[i])
		}
	}
	return nil
}

// id finds the token that a text stands for; -1 where there is none, or several.
func (t *remote) id(text string) int32 {
	if n, ok := strings.CutPrefix(text, "token_id:"); ok {
		if id, err := strconv.Atoi(n); err == nil && id >= 0 && id < t.size {
			return int32(id)
		}
	}
	if strings.ContainsRune(text, utf8.RuneError) {
		return -1 // a part of a character
	}
	if id, ok := t.names[text]; ok {
		return id
	}
	return -1
}

// take checks a list and puts it in place, largest first. Texts that stand for no one token go to the tail.
func (t *remote) take(list []guess, at int, ids []int32, p []float32) error {
	whole := !slices.ContainsFunc(list, func(g guess) bool { return g.id < 0 }) // else one text may stand for several of the tokens
	if n := len(list); n == 0 || whole && n < t.TopLogprobs {
		return t.lie("has %d tokens at position %d where %d were asked for", n, at, t.TopLogprobs)
	}
	sum := 0.0
	seen := map[int32]bool{}
	for _, g := range list {
		switch {
		case math.IsNaN(g.ln) || g.ln > 1e-3:
			return t.lie("has the log-probability %g at position %d", g.ln, at)
		case g.id >= int32(t.size):
			return t.lie("names token %d at position %d, the vocabulary has %d", g.id, at, t.size)
		case g.id >= 0 && seen[g.id]:
			return t.lie("names token %d twice at position %d", g.id, at)
		}
		seen[g.id] = true
		sum += math.Exp(g.ln)
	}
	if sum > 1.01 {
		return t.lie("has probabilities that sum to %g at position %d", sum, at)
	}
	list = slices.DeleteFunc(list, func(g guess) bool { return g.id < 0 })
	slices.SortFunc(list, func(a, b guess) int { return cmp.Or(cmp.Compare(b.ln, a.ln), cmp.Compare(a.id, b.id)) })
	for i := range ids {
		ids[i], p[i] = -1, 0 // a place that is left over names nothing
		if i < len(list) {
			ids[i], p[i] = list[i].id, float32(min(1, math.Exp(list[i].ln)))
		}
	}
	return nil
}
