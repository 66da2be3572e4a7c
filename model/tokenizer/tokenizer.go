package tokenizer

import (
	"fmt"
	"sync"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// Tokenizer is one vocabulary with the rules that turn text into its ids and back. It is immutable and safe for
// concurrent use.
type Tokenizer struct {
	spec   *spec // what it was built from
	vocab  *vocab
	added  []AddedToken
	byID   map[int32]*AddedToken
	before *addedMatcher // tokens looked for in the text as given
	after  *addedMatcher // tokens looked for in normalized text
	norm   normalizer
	split  []splitter
	model  model
	post   *postProcessor
	dec    decoderChain
	named  namedTokens
	chat   string
	pool   sync.Pool // of *encoder
}

// model turns one pre-token into ids, appended to e.ids.
type model interface {
	encode(e *encoder, s string)
}

// namedTokens are the ids that tokenizer_config.json or GGUF metadata name; -1 where there is none.
type namedTokens struct{ bos, eos, unk, sep, pad, cls, mask int32 }

func noNamedTokens() namedTokens { return namedTokens{-1, -1, -1, -1, -1, -1, -1} }

// Options says how EncodeOptions treats special tokens.
type Options struct {
	AddSpecial   bool   // add what the post-processor adds: BOS, EOS, [CLS] ...
	ParseSpecial bool   // the text of a special token becomes that token
	Literal      []Span // byte ranges of the text, ascending, in which ParseSpecial does not apply: what a user wrote
}

// Span is the byte range [Start, End) of a text.
type Span struct{ Start, End int }

// Encode returns the ids of text. addSpecial adds the tokens that the model expects around a text (see PrependsBOS).
// The text of a special token inside text stays text: use EncodeOptions where it is to become the token. Bytes
// that are not UTF-8 count as U+FFFD. Text over limits.Text is an error of class tensor.ErrTooLarge.
func (t *Tokenizer) Encode(text string, addSpecial bool) ([]int32, error) {
	return t.EncodeOptions(text, Options{AddSpecial: addSpecial})
}

// EncodeOptions is Encode with every choice.
func (t *Tokenizer) EncodeOptions(text string, o Options) ([]int32, error) {
	if int64(len(text)) > limits.Text {
		return nil, tensor.Errorf(tensor.ErrTooLarge, "", "text", "has %d bytes, the limit is %d: encode it in parts", len(text), limits.Text)
	}
	if valid := validUTF8(text); len(valid) != len(text) && len(o.Literal) > 0 {
		return nil, tensor.Errorf(tensor.ErrInvalid, "", "text", "is not valid UTF-8, so its literal spans are not defined")
	} else {
		text = valid
	}
	e := t.encoder()
	defer t.pool.Put(e)
	e.ids, e.err = make([]int32, 0, len(text)/4+8), nil
	e.text(text, o)
	if e.err != nil {
		return nil, e.err
	}
	ids := e.ids
	e.ids = nil
	if o.AddSpecial {
		ids = t.post.apply(ids)
	}
	return ids, nil
}

// encoder is the scratch memory of one Encode call.
type encoder struct {
	t       *Tokenizer
	ids     []int32
	err     error
	cache   wordCache
	long    longMerge
	viterbi []viterbiNode
	cuts    []int32
	states  []scanState
	emit    []func(piece) // emit[i] gives a piece to step i
	before  []fragment
	after   []fragment
}

func (t *Tokenizer) encoder() *encoder {
	if e, ok := t.pool.Get().(*encoder); ok {
		return e
	}
	e := &encoder{t: t, states: make([]scanState, len(t.split))}
	e.emit = make([]func(piece), len(t.split)+1)
	e.emit[len(t.split)] = func(p piece) {
		if p.s != "" && e.err == nil {
			t.model.encode(e, p.s)
		}
	}
	for i := len(t.split) - 1; i >= 0; i-- {
		step, state, emit := t.split[i], &e.states[i], e.emit[i+1]
		e.emit[i] = func(p piece) {
			if p.s != "" && e.err == nil {
				step.split(p, state, emit)
			}
		}
	}
	return e
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// text encodes valid text: added tokens that stand in it as they are, then what lies between.
func (e *encoder) text(text string, o Options) {
	t := e.t
	for i := range e.states {
		e.states[i] = scanState{}
	}
	if t.before == nil {
		e.normalized(text, true, o)
	} else {
		var err error
		e.before, err = t.before.find(text, e.before[:0], func(a *AddedToken, start, end int) bool {
			return !a.Special || o.ParseSpecial && !inside(o.Literal, start, end)
		})
		if err != nil {
			e.fail(err)
			return
		}
		for _, f := range e.before {
			if f.id >= 0 {
				e.ids = append(e.ids, f.id)
			} else {
				e.normalized(text[f.start:f.end], f.start == 0, o)
			}
		}
	}
	for i := range e.states {
		if e.states[i].over {
			e.fail(errNotLinear("pre-tokenizer"))
		}
	}
}

// normalized encodes text that holds no added token as it is: it is normalized, and tokens are looked for again.
func (e *encoder) normalized(s string, first bool, o Options) {
	t := e.t
	if t.norm != nil {
		var err error
		if s, err = t.norm.normalize(s); err == nil {
			err = checkGrowth(len(s))
		}
		if err != nil {
			e.fail(err)
			return
		}
	}
	if t.after == nil {
		e.emit[0](piece{s, first})
		return
	}
	var err error
	e.after, err = t.after.find(s, e.after[:0], func(a *AddedToken, _, _ int) bool {
		return !a.Special || o.ParseSpecial && len(o.Literal) == 0
	})
	if err != nil {
		e.fail(err)
		return
	}
	for _, f := range e.after {
		if f.id >= 0 {
			e.ids = append(e.ids, f.id)
		} else {
			e.emit[0](piece{s[f.start:f.end], first && f.start == 0})
		}
	}
}

// inside reports whether [start,end) touches one of the spans.
func inside(spans []Span, start, end int) bool {
	lo, hi := 0, len(spans)
	for lo < hi { // the first span that ends after start
		if mid := (lo + hi) / 2; spans[mid].End <= start {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(spans) && spans[lo].Start < end
}

// VocabSize returns one more than the largest id, holes included. A model may have more embedding rows.
func (t *Tokenizer) VocabSize() int { return len(t.vocab.pieces) }

// Piece returns the vocabulary entry of an id as the file writes it, or "" for an id outside the vocabulary.
func (t *Tokenizer) Piece(id int32) string {
	if id < 0 || int(id) >= len(t.vocab.pieces) {
		return ""
	}
	return t.vocab.pieces[id]
}

// ID returns the id of a vocabulary entry, or -1.
func (t *Tokenizer) ID(piece string) int32 { return t.vocab.id(piece) }

// IsSpecial reports whether id is a control token: Decode with skipSpecial leaves it out.
func (t *Tokenizer) IsSpecial(id int32) bool {
	a, ok := t.byID[id]
	return ok && a.Special
}

// BOS returns the id that begins a sequence, or -1.
func (t *Tokenizer) BOS() int32 { return t.named.bos }

// EOS returns the id that ends a sequence, or -1.
func (t *Tokenizer) EOS() int32 { return t.named.eos }

// UNK returns the id for what is not in the vocabulary, or -1.
func (t *Tokenizer) UNK() int32 { return t.named.unk }

// PAD returns the id that fills up batches, or -1.
func (t *Tokenizer) PAD() int32 { return t.named.pad }

// PrependsBOS reports whether Encode with addSpecial begins with BOS.
func (t *Tokenizer) PrependsBOS() bool {
	return t.post != nil && len(t.post.before) > 0 && t.named.bos >= 0 && t.post.before[0] == t.named.bos
}

// AppendsEOS reports whether Encode with addSpecial ends with EOS.
func (t *Tokenizer) AppendsEOS() bool {
	return t.post != nil && len(t.post.after) > 0 && t.named.eos >= 0 && t.post.after[len(t.post.after)-1] == t.named.eos
}

// ChatTemplate returns the Jinja source that came with the vocabulary, or "".
func (t *Tokenizer) ChatTemplate() string { return t.chat }

// String describes the tokenizer in a few words, for reports.
func (t *Tokenizer) String() string {
	return fmt.Sprintf("%s, %d tokens", t.spec.model.Type, t.VocabSize())
}
