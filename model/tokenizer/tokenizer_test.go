package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/parelm/pare/internal/limits"
)

// TestSpecialTokensStayText is case T16: the text of a control token in what a user wrote is text.
func TestSpecialTokensStayText(t *testing.T) {
	for _, file := range []string{"bytelevel.json", "wordpiece.json", "unigram.json", "stories260K.json", "stories260K.model", "bpe_user.model", "unigram_user.model"} {
		tk := openTestdata(t, file)
		for _, a := range tk.added {
			if !a.Special {
				continue
			}
			text := "a " + a.Content + " b"
			if ids := mustEncode(t, tk, text, Options{AddSpecial: false}); slices.Contains(ids, a.ID) && a.ID != tk.UNK() {
				t.Errorf("%s: %q became control token %d: %v", file, text, a.ID, ids)
			}
			if ids := mustEncode(t, tk, text, Options{ParseSpecial: true}); !slices.Contains(ids, a.ID) {
				t.Errorf("%s: %q was not parsed: %v", file, text, ids)
			}
		}
	}
}

// TestLiteralSpans: with ParseSpecial, spans that a user wrote are still text, whatever they hold or touch.
func TestLiteralSpans(t *testing.T) {
	tk := openTestdata(t, "bytelevel.json")
	text := "<s>hi <s></s>"
	bos, eos := tk.ID("<s>"), tk.ID("</s>")
	count := func(spans ...Span) (b, e int) {
		for _, id := range mustEncode(t, tk, text, Options{ParseSpecial: true, Literal: spans}) {
			if id == bos {
				b++
			} else if id == eos {
				e++
			}
		}
		return b, e
	}
	for _, c := range []struct {
		spans []Span
		b, e  int
	}{
		{nil, 2, 1}, {[]Span{{3, 6}}, 2, 1}, {[]Span{{6, 9}}, 1, 1}, {[]Span{{8, 10}}, 1, 0}, {[]Span{{0, 1}, {12, 13}}, 1, 0}, {[]Span{{0, 13}}, 0, 0},
	} {
		if b, e := count(c.spans...); b != c.b || e != c.e {
			t.Errorf("%v: %d and %d control tokens, want %d and %d", c.spans, b, e, c.b, c.e)
		}
	}
}

// TestAnyText is the first half of case T15: no text is refused, and none breaks anything.
func TestAnyText(t *testing.T) {
	for _, file := range []string{"bytelevel.json", "suffix.json", "prefix.json", "wordpiece.json", "unigram.json", "stories260K.json",
		"stories260K.model", "bpe_user.model", "bpe_suffix.model", "unigram_user.model", "microlm.json"} {
		tk := openTestdata(t, file)
		for _, text := range []string{"", "\x00", "a\x00b", "\xff\xfe", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80", "a\xe2\x82", "\ufffd", "\u2028", "<0x41>", "\U0010ffff"} {
			ids := mustEncode(t, tk, text, Options{AddSpecial: true, ParseSpecial: true})
			if s := tk.Decode(ids, false); !utf8.ValidString(s) {
				t.Errorf("%s: %q decodes to %q", file, text, s)
			}
		}
		if _, err := tk.Encode(strings.Repeat("a", int(limits.Text)+1), false); err == nil {
			t.Errorf("%s: a text over the limit was taken", file)
		}
		if s := tk.Decode([]int32{-1, 1 << 30, int32(tk.VocabSize())}, false); s != "" {
			t.Errorf("%s: ids outside the vocabulary decode to %q", file, s)
		}
	}
}

// TestLinearTime is the second half of case T15: 131072 times the same character take at most twice the time of prose of that
// length. Each try uses a new tokenizer, so that no word is known from before; the best of several counts.
func TestLinearTime(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	const n = 131072
	again := func(try func() (bad string)) { // a busy machine is no mistake of ours: one good try of several is enough
		bad := ""
		for range 8 {
			if bad = try(); bad == "" {
				return
			}
		}
		t.Error(bad)
	}
	words := strings.Fields(readFile(t, "testdata", "README.md"))
	var prose strings.Builder
	for i := 0; prose.Len() < n; i++ { // never the same words twice in the same order
		prose.WriteString(words[(i*i+i/7)%len(words)] + " " + words[i%len(words)][:1+i%len(words[i%len(words)])] + " ")
	}
	for _, file := range []string{"bytelevel.json", "stories260K.json", "unigram.json", "bpe_user.model", "unigram_user.model", "microlm.json", "wordpiece.json"} {
		measure := func(text string) time.Duration {
			best := time.Hour
			for range 5 {
				tk := openTestdata(t, file)
				start := time.Now()
				mustEncode(t, tk, text, Options{})
				best = min(best, time.Since(start))
			}
			return best
		}
		base := measure(prose.String()[:n])
		for _, s := range []string{"Z", " ", "\n", "é", "ab", "<", "'", "한"} {
			text := strings.Repeat(s, n)[:n/len(s)*len(s)]
			if file == "wordpiece.json" && s[0] >= utf8.RuneSelf {
				continue // taking accents off costs more than the rest: linear is enough, see below
			}
			again(func() (bad string) { // base is measured again too: other programs may have come or gone
				if took := measure(text); took > 2*base+2*time.Millisecond {
					bad = fmt.Sprintf("%s: %d bytes of %q take %v, prose takes %v", file, len(text), s, took, base)
					base = measure(prose.String()[:n])
				}
				return bad
			})
		}
		for _, s := range []string{"a\u0301", "é", " \n", "Ab1", "</s"} {
			again(func() (bad string) {
				once, twice := measure(strings.Repeat(s, n/8)), measure(strings.Repeat(s, n/4))
				if twice > 3*once+10*time.Millisecond {
					bad = fmt.Sprintf("%s: %q %d times takes %v, twice as often %v", file, s, n/8, once, twice)
				}
				return bad
			})
		}
	}
}

func TestStreamHoldsBackHalfRunes(t *testing.T) {
	tk := openTestdata(t, "bytelevel.json")
	s := tk.NewStream(true)
	text := "é😀 ok"
	var parts []string
	for _, id := range mustEncode(t, tk, text, Options{}) {
		p := s.Push(id)
		if !utf8.ValidString(p) || strings.Contains(p, "\ufffd") {
			t.Errorf("half a rune: %q", p)
		}
		parts = append(parts, p)
	}
	if got := strings.Join(parts, "") + s.Flush(); got != text {
		t.Errorf("got %q", got)
	}
	half := mustEncode(t, tk, "😀", Options{})[:2]
	for _, id := range half {
		if p := s.Push(id); p != "" {
			t.Errorf("gave %q of half a rune", p)
		}
	}
	if got := s.Flush(); got != "\ufffd" {
		t.Errorf("the rest is %q", got)
	}
	if got := s.Push(tk.ID("a")) + s.Flush(); got != "a" { // starts over
		t.Errorf("after Flush: %q", got)
	}
	for range 100 { // broken for good: it does not wait for ever
		s.Push(half[0])
	}
	if len(s.ids) > 4*streamPatience {
		t.Errorf("%d ids are waiting", len(s.ids))
	}
}

func TestBytesAddUp(t *testing.T) {
	text := " It's naïve – 😀\n"
	for _, file := range []string{"bytelevel.json", "stories260K.json", "bpe_user.model"} {
		tk := openTestdata(t, file)
		var all []byte
		for _, id := range mustEncode(t, tk, text, Options{}) {
			all = append(all, tk.Bytes(id)...)
		}
		want := tk.Decode(mustEncode(t, tk, text, Options{}), false)
		if got := string(all); got != want && got != " "+want { // the space that encoding has put in front
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	tk := openTestdata(t, "bytelevel.json")
	g := readGolden(t)
	want := make([][]int32, len(g.Texts))
	for i, s := range g.Texts {
		want[i] = mustEncode(t, tk, s, Options{})
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i, s := range g.Texts {
				if got, err := tk.Encode(s, false); err != nil || !slices.Equal(got, want[i]) {
					t.Errorf("%q differs: %v", s, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAccessors(t *testing.T) {
	tk := openTestdata(t, "bytelevel.json")
	if tk.BOS() != tk.ID("<s>") || tk.EOS() != tk.ID("</s>") || tk.UNK() != -1 || tk.PAD() != -1 {
		t.Error("named tokens", tk.BOS(), tk.EOS(), tk.UNK(), tk.PAD())
	}
	if !tk.PrependsBOS() || !tk.AppendsEOS() || !tk.IsSpecial(tk.BOS()) || tk.IsSpecial(0) {
		t.Error("policies")
	}
	if tk.Piece(tk.ID("Ġt")) != "Ġt" || tk.Piece(-1) != "" || tk.Piece(1<<30) != "" || tk.ID("no such piece") != -1 {
		t.Error("pieces")
	}
	if want := int(tk.ID("Brown")) + 1; tk.VocabSize() != want { // the last added token
		t.Errorf("VocabSize is %d, want %d", tk.VocabSize(), want)
	}
}
