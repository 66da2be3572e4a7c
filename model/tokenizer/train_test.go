package tokenizer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/model/tensor"
)

func listing(m *modelSpec) (out []string) {
	for _, x := range m.merges {
		out = append(out, m.part(x.left)+" "+m.part(x.right))
	}
	return out
}

// TestTrainEqualsReference compares the merges with those of the reference trainer, which breaks ties the same way.
func TestTrainEqualsReference(t *testing.T) {
	var g struct {
		Texts    []string
		Training []struct {
			Merges int
			SHA256 string
			First  []string
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, "testdata", "golden.json")), &g); err != nil || len(g.Training) != 1 {
		t.Fatal(err)
	}
	tk, err := Train(t.Context(), strings.Lines(strings.Join(g.Texts, "\n")), TrainOptions{VocabSize: 256 + g.Training[0].Merges, MinCount: 1})
	if err != nil {
		t.Fatal(err)
	}
	got := listing(&tk.spec.model)
	if !slices.Equal(got[:len(g.Training[0].First)], g.Training[0].First) {
		t.Errorf("got %q, want %q", got[:len(g.Training[0].First)], g.Training[0].First)
	}
	h := sha256.Sum256([]byte(strings.Join(got, "\n") + "\n"))
	if len(got) != g.Training[0].Merges || hex.EncodeToString(h[:]) != g.Training[0].SHA256 {
		t.Error("merges differ from the reference")
	}
}

// slowTrain finds merges by counting all pairs anew for each.
func slowTrain(words map[string]int64, merges int) (out []string) {
	type word struct {
		symbols []string
		n       int64
	}
	var list []word
	for w, n := range words {
		x := word{n: n}
		for i := range len(w) {
			x.symbols = append(x.symbols, string(runeOfByte[w[i]]))
		}
		list = append(list, x)
	}
	rank := map[string]int{} // pieces in the order of their ids
	runes := slices.Clone(runeOfByte[:])
	slices.Sort(runes)
	for i, r := range runes {
		rank[string(r)] = i
	}
	for range merges {
		counts := map[[2]string]int64{}
		for _, w := range list {
			for i := range len(w.symbols) - 1 {
				counts[[2]string{w.symbols[i], w.symbols[i+1]}] += w.n
			}
		}
		var best [2]string
		var top int64
		for p, n := range counts {
			a, b := rank[p[0]], rank[p[1]]
			c, d := rank[best[0]], rank[best[1]]
			if n > top || n == top && (a < c || a == c && b < d) {
				best, top = p, n
			}
		}
		if top < 2 {
			break
		}
		out = append(out, best[0]+" "+best[1])
		joined := best[0] + best[1]
		if _, ok := rank[joined]; !ok {
			rank[joined] = len(rank)
		}
		for k, w := range list {
			var s []string
			for i := 0; i < len(w.symbols); i++ {
				if i+1 < len(w.symbols) && w.symbols[i] == best[0] && w.symbols[i+1] == best[1] {
					s = append(s, joined)
					i++
				} else {
					s = append(s, w.symbols[i])
				}
			}
			list[k].symbols = s
		}
	}
	return out
}

func TestTrainEqualsSlowTwin(t *testing.T) {
	text := strings.Repeat("aaaa aaab abab bababa aab a aa aaa aaaaaaa ", 3) + "the cat sat on the mat. The cat! théâtre\n\n  x"
	for _, split := range []Split{SplitGPT2, SplitCL100K, SplitQwen2, SplitO200K} {
		counts, err := countWords(t.Context(), one(text), split)
		if err != nil {
			t.Fatal(err)
		}
		want := slowTrain(counts, 60)
		tk, err := Train(t.Context(), one(text), TrainOptions{VocabSize: 256 + 60, Split: split})
		if err != nil {
			t.Fatal(err)
		}
		if got := listing(&tk.spec.model); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if got := tk.Decode(mustEncode(t, tk, text, Options{}), true); got != text {
			t.Errorf("%q", got)
		}
	}
}

func one(s string) iter.Seq[string] { return func(yield func(string) bool) { yield(s) } }

func TestTrainOptions(t *testing.T) {
	o := TrainOptions{VocabSize: 300, Special: []string{"<pad>"}, BOS: "<s>", EOS: "</s>", AddBOS: true}
	a, b := trainSmall(t, o), trainSmall(t, o)
	if a.Fingerprint() != b.Fingerprint() {
		t.Error("training twice gives two vocabularies")
	}
	if a.VocabSize() != 300 || a.ID("<pad>") != 0 || a.BOS() != 1 || a.EOS() != 2 || !a.PrependsBOS() || a.AppendsEOS() {
		t.Errorf("%d pieces, BOS %d, EOS %d", a.VocabSize(), a.BOS(), a.EOS())
	}
	for _, o := range []TrainOptions{
		{VocabSize: 255}, {VocabSize: 256, Special: []string{"x x"}}, {VocabSize: 1 << 30}, {VocabSize: 300, AddBOS: true},
		{VocabSize: 300, Special: []string{"<s>", "<s>"}}, {VocabSize: 300, Special: []string{""}}, {VocabSize: 300, Special: []string{"a"}},
	} {
		if _, err := Train(t.Context(), one("abc"), o); !errors.Is(err, tensor.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := Train(t.Context(), one("abc"), TrainOptions{VocabSize: 300, Split: `(?<=a)b`}); !errors.Is(err, tensor.ErrUnsupported) {
		t.Errorf("split: %v", err)
	}
	few, err := Train(t.Context(), one("ab ab"), TrainOptions{VocabSize: 1000})
	if err != nil || few.VocabSize() != 257 { // "ab"; " ab" occurs once
		t.Errorf("%v, %d pieces", err, few.VocabSize())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Train(ctx, one("abc"), TrainOptions{VocabSize: 300}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func BenchmarkTrain(b *testing.B) {
	text := strings.Repeat(readFile(b, "testdata", "golden.json"), 40)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Train(b.Context(), strings.Lines(text), TrainOptions{VocabSize: 4096}); err != nil {
			b.Fatal(err)
		}
	}
}
