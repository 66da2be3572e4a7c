package eval

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"unicode/utf8"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/tokenizer"
	"github.com/parelm/pare/runtime"
)

// TaskResult is a score on a task.
type TaskResult struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	StdErr    float64 `json:"stderr"`
	N         int     `json:"n"`
	Norm      float64 `json:"accuracy_norm,omitempty"` // choices scored by log-likelihood per byte
	Truncated int     `json:"truncated,omitempty"`     // items whose prompt lost its beginning to fit the context
	Equal     int     `json:"equal,omitempty"`         // items with equal choices, any of which counts as the other
	Protocol  string  `json:"protocol"`
	Correct   []bool  `json:"-"` // by item, for paired comparison
}

// item is one question in the terms that all kinds share: which continuation of which context is likeliest.
type item struct {
	contexts []string // one for all choices, or one each
	choices  []string // continuations, with their leading space
	label    int      // the right one; -1: the single choice must be what the model would say
	id       string   // the line's own, as JSON; empty where it has none
}

func (it *item) context(i int) string {
	if len(it.contexts) == 1 {
		return it.contexts[0]
	}
	return it.contexts[i]
}

// equal reports whether two choices are the same.
func (it *item) equal() bool {
	for i := range it.choices {
		for j := range i {
			if it.choices[i] == it.choices[j] && it.context(i) == it.context(j) {
				return true
			}
		}
	}
	return false
}

// kind turns lines of one shape into items.
type kind struct {
	name     string
	protocol string
	fields   []string // all must be there
	parse    func(line map[string]json.RawMessage) (*item, error)
	norm     bool // the metric is accuracy by log-likelihood per byte
}

// kinds are tried in order; the first whose fields are all there reads the file. A new kind is an entry in its own file.
var kinds []kind

// RunTask scores a file of JSON lines, whose kind of task follows from the fields of its first line, or a TaskFile. limit
// bounds the questions; 0 means all.
func RunTask(ctx context.Context, e *runtime.Engine, tok *tokenizer.Tokenizer, path string, limit int) (*TaskResult, error) {
	items, k, err := readTask(path, limit)
	if err != nil {
		return nil, err
	}
	r := &TaskResult{Metric: "accuracy", N: len(items), Protocol: k.protocol}
	s := &scorer{e: e, tok: tok, session: e.NewSession()}
	task := progress.Start(ctx, k.name, "items", int64(len(items)))
	defer task.Done()
	var norm []bool
	for _, it := range items {
		best, bestNorm := 0, 0
		var scores, perByte []float64
		exact, cut := true, s.truncated
		for i, c := range it.choices {
			lp, greedy, err := s.score(ctx, it.context(i), c)
			if err != nil {
				return nil, err
			}
			exact = exact && greedy
			scores = append(scores, lp)
			perByte = append(perByte, lp/float64(max(len(c), 1)))
			if lp > scores[best] {
				best = i
			}
			if perByte[i] > perByte[bestNorm] {
				bestNorm = i
			}
		}
		if it.label < 0 {
			r.Correct, norm = append(r.Correct, exact), append(norm, exact)
		} else {
			r.Correct = append(r.Correct, it.choices[best] == it.choices[it.label] && it.context(best) == it.context(it.label))
			norm = append(norm, it.choices[bestNorm] == it.choices[it.label] && it.context(bestNorm) == it.context(it.label))
		}
		if it.equal() {
			r.Equal++
		}
		if s.truncated > cut {
			r.Truncated++
		}
		task.Add(1)
	}
	if len(items[0].choices) > 1 {
		r.Norm = share(norm)
	}
	if k.norm {
		r.Metric, r.Correct = "accuracy_norm", norm
	}
	r.Value = share(r.Correct)
	r.StdErr = math.Sqrt(r.Value * (1 - r.Value) / float64(r.N))
	return r, nil
}

// share returns how many are true.
func share(list []bool) float64 {
	n := 0
	for _, x := range list {
		if x {
			n++
		}
	}
	return float64(n) / float64(len(list))
}

// readTask reads and checks all lines before anything is scored.
func readTask(path string, limit int) ([]*item, *kind, error) {
	if isTaskFile(path) {
		f, err := ReadTaskFile(path)
		if err != nil {
			return nil, nil, err
		}
		return f.items(limit)
	}
	k := &kind{}
	items, err := readLines(path, limit, k)
	return items, k, err
}

// readLines reads questions. A kind without a parser is found by the fields of the first line.
func readLines(path string, limit int, k *kind) ([]*item, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, tensor.Errorf(tensor.ErrInvalid, path, "", "is not a regular file")
	}
	r := bufio.NewReader(f)
	if head, _ := r.Peek(2); string(head) == "\x1f\x8b" { // an empty file is told below
		return nil, tensor.Errorf(tensor.ErrInvalid, path, "", "is compressed with gzip: unpack it first")
	}
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), int(limits.EvalLine))
	var items []*item
	ids := map[string]int{}
	for n := 1; sc.Scan(); n++ {
		text := bytes.TrimPrefix(bytes.TrimSpace(sc.Bytes()), []byte("\ufeff"))
		if len(text) == 0 {
			continue
		}
		it, err := parseLine(text, k)
		if err != nil {
			return nil, tensor.Errorf(tensor.ErrInvalid, path, fmt.Sprintf("line %d", n), "%v", err)
		}
		if first := ids[it.id]; it.id != "" && first > 0 {
			return nil, tensor.Errorf(tensor.ErrInvalid, path, fmt.Sprintf("line %d", n), "has the id %s of line %d", clip(it.id), first)
		}
		ids[it.id] = n
		items = append(items, it)
		if limit > 0 && len(items) == limit {
			break
		}
	}
	if err := sc.Err(); err == bufio.ErrTooLong {
		return nil, tensor.Errorf(tensor.ErrTooLarge, path, fmt.Sprintf("after %d items", len(items)), "a line is over %d bytes", limits.EvalLine)
	} else if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, tensor.Errorf(tensor.ErrInvalid, path, "", "holds no items")
	}
	return items, nil
}

func parseLine(text []byte, k *kind) (*item, error) {
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("is not plain UTF-8 text")
	}
	var line map[string]json.RawMessage
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, fmt.Errorf("is not a JSON object: %v", err)
	}
	if k.parse == nil {
		for i := range kinds {
			if k.parse == nil && has(line, kinds[i].fields) {
				*k = kinds[i]
			}
		}
		if k.parse == nil {
			return nil, fmt.Errorf("no known kind of task has these fields; known are %s", Kinds())
		}
	}
	for _, f := range k.fields {
		if _, ok := line[f]; !ok {
			return nil, fmt.Errorf("field %q is missing", f)
		}
	}
	it, err := k.parse(line)
	if err != nil {
		return nil, err
	}
	it.id = string(line["id"])
	switch n := len(it.choices); {
	case int64(n) > limits.EvalChoices:
		return nil, fmt.Errorf("%d choices, the limit is %d", n, limits.EvalChoices)
	case it.label >= n:
		return nil, fmt.Errorf("label %d of %d choices", it.label, n)
	case it.label >= 0 && n < 2:
		return nil, fmt.Errorf("%d choice: there must be two at least", n)
	}
	for i, c := range it.choices {
		if c == "" {
			return nil, fmt.Errorf("choice %d is empty", i)
		}
	}
	return it, nil
}

func has(line map[string]json.RawMessage, fields []string) bool {
	for _, f := range fields {
		if _, ok := line[f]; !ok {
			return false
		}
	}
	return true
}

// Kinds lists the kinds of tasks with the fields of their lines.
func Kinds() string {
	s := ""
	for i, k := range kinds {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%s %v", k.name, k.fields)
	}
	return s
}

// scorer computes log-likelihoods, keeping the context that consecutive choices share.
type scorer struct {
	e         *runtime.Engine
	tok       *tokenizer.Tokenizer
	session   *runtime.Session
	have      []int32 // what the session holds
	truncated int
}

// score returns the log-likelihood of a continuation and whether it is what greedy decoding would say. As in lm-eval,
// context and continuation are tokenized together and cut where the context's own ids end; a prompt over the context
// length loses its beginning.
func (s *scorer) score(ctx context.Context, context, continuation string) (logp float64, greedy bool, err error) {
	head, err := s.tok.Encode(context, true)
	if err != nil {
		return 0, false, err
	}
	all, err := s.tok.Encode(context+continuation, true)
	if err != nil {
		return 0, false, err
	}
	from := min(len(head), len(all))
	if from == 0 { // no context and no BOS: the first id has nothing before it
		from = 1
	}
	if from >= len(all) {
		return 0, false, fmt.Errorf("the continuation %q adds no tokens to its context", clip(continuation))
	}
	if over := len(all) - 1 - s.e.Context(); over > 0 {
		s.truncated++
		if over >= from {
			return 0, false, fmt.Errorf("a continuation of %d tokens is over the context of %d", len(all)-from, s.e.Context())
		}
		all, from = all[over:], from-over
	}
	read := all[:len(all)-1]
	keep := 0
	for keep < len(s.have) && keep < from-1 && s.have[keep] == read[keep] {
		keep++
	}
	if err := s.session.Truncate(ctx, keep); err != nil {
		return 0, false, err
	}
	greedy = true
	err = s.session.Each(ctx, read[keep:], func(i int, logits []float32) error {
		at := keep + i + 1 // the id that these logits predict
		if at < from {
			return nil
		}
		lp := logSoftmax(logits)
		logp += lp[all[at]]
		for _, v := range lp {
			greedy = greedy && v <= lp[all[at]]
		}
		return nil
	})
	s.have = append(s.have[:0], read...)
	return logp, greedy, err
}

// clip shortens text for an error message.
func clip(s string) string {
	if len(s) > 40 {
		return s[:37] + "..."
	}
	return s
}
