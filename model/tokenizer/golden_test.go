package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type goldenFile struct {
	Texts      []string
	Pieces     [][]string
	Tokenizers []struct{ File, IDs, Special, Decoded, Skipped, Example string }
	Spm        []struct{ File, IDs, Decoded, Example string } `json:"sentencepiece"`
	Components []struct {
		Kind   string
		JSON   json.RawMessage
		SHA256 string
	}
}

func readGolden(t testing.TB) *goldenFile {
	var g goldenFile
	if err := json.Unmarshal([]byte(readFile(t, "testdata", "golden.json")), &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Texts) < 200 || len(g.Tokenizers) < 7 || len(g.Spm) < 6 || len(g.Components) < 100 {
		t.Fatal("golden.json is not complete")
	}
	return &g
}

// digest hashes what f writes for each text.
func digest[T any](items []T, f func(T) string) string {
	h := sha256.New()
	for _, x := range items {
		h.Write([]byte(f(x)))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func idLine(ids []int32) string {
	return strings.Trim(fmt.Sprint(ids), "[]") + "\n"
}

func mustEncode(t testing.TB, tk *Tokenizer, text string, o Options) []int32 {
	ids, err := tk.EncodeOptions(text, o)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return ids
}

func openTestdata(t testing.TB, file string) *Tokenizer {
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var tk *Tokenizer
	if filepath.Ext(file) == ".model" {
		tk, err = FromSentencePiece(file, data)
	} else {
		tk, err = FromJSON(file, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func TestGoldenTokenizers(t *testing.T) {
	g := readGolden(t)
	for _, c := range g.Tokenizers {
		t.Run(c.File, func(t *testing.T) {
			tk := openTestdata(t, c.File)
			plain, all := Options{ParseSpecial: true}, Options{ParseSpecial: true, AddSpecial: true}
			if got := strings.TrimSpace(idLine(mustEncode(t, tk, g.Texts[len(g.Texts)-9], plain))); got != c.Example {
				t.Errorf("%q:\n got %s\nwant %s", g.Texts[len(g.Texts)-9], got, c.Example)
			}
			for _, x := range []struct {
				name, want string
				f          func(string) string
			}{
				{"ids", c.IDs, func(s string) string { return idLine(mustEncode(t, tk, s, plain)) }},
				{"ids with special tokens", c.Special, func(s string) string { return idLine(mustEncode(t, tk, s, all)) }},
				{"decoded", c.Decoded, func(s string) string { return tk.Decode(mustEncode(t, tk, s, all), false) + "\x00" }},
				{"decoded without special tokens", c.Skipped, func(s string) string { return tk.Decode(mustEncode(t, tk, s, all), true) + "\x00" }},
				{"streamed", c.Skipped, func(s string) string { return streamed(tk, mustEncode(t, tk, s, all), true) + "\x00" }},
			} {
				if digest(g.Texts, x.f) != x.want {
					t.Errorf("%s differ from the reference", x.name)
				}
			}
		})
	}
}

func streamed(tk *Tokenizer, ids []int32, skip bool) string {
	s := tk.NewStream(skip)
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(s.Push(id))
	}
	b.WriteString(s.Flush())
	return b.String()
}

func TestGoldenSentencePiece(t *testing.T) {
	g := readGolden(t)
	for _, c := range g.Spm {
		t.Run(c.File, func(t *testing.T) {
			tk := openTestdata(t, c.File)
			if got := strings.TrimSpace(idLine(mustEncode(t, tk, g.Texts[len(g.Texts)-9], Options{}))); got != c.Example {
				t.Errorf("%q:\n got %s\nwant %s", g.Texts[len(g.Texts)-9], got, c.Example)
			}
			if digest(g.Texts, func(s string) string { return idLine(mustEncode(t, tk, s, Options{})) }) != c.IDs {
				t.Error("ids differ from the reference")
			}
			if digest(g.Texts, func(s string) string { return tk.Decode(mustEncode(t, tk, s, Options{}), false) + "\x00" }) != c.Decoded {
				t.Error("decoded text differs from the reference")
			}
		})
	}
}

func TestGoldenComponents(t *testing.T) {
	g := readGolden(t)
	for _, c := range g.Components {
		var got string
		switch c.Kind {
		case "normalizer":
			n, err := compileNormalizer(c.JSON)
			if err != nil {
				t.Errorf("%.120s: %v", c.JSON, err)
				continue
			}
			got = digest(g.Texts, func(s string) string {
				s, err := n.normalize(s)
				if err != nil {
					t.Error(err)
				}
				return s + "\x00"
			})
		case "pre_tokenizer":
			steps, err := compileSplitters(c.JSON, nil)
			if err != nil {
				t.Errorf("%.120s: %v", c.JSON, err)
				continue
			}
			got = digest(g.Texts, func(s string) string { return strings.Join(splitAll(steps, s), "") + "\x00" })
		case "decoder":
			d, err := compileDecoder(c.JSON, nil)
			if err != nil {
				t.Errorf("%.120s: %v", c.JSON, err)
				continue
			}
			got = digest(g.Pieces, func(p []string) string {
				p = slices.Clone(p)
				for _, x := range d {
					p = x.decode(p)
				}
				return strings.Join(p, "") + "\x00"
			})
		}
		if got != c.SHA256 {
			t.Errorf("%s differs from the reference: %.200s", c.Kind, c.JSON)
		}
	}
}

// splitAll runs steps one after the other and marks the end of each piece.
func splitAll(steps []splitter, s string) []string {
	pieces := []piece{{s, true}}
	for _, step := range steps {
		var next []piece
		for _, p := range pieces {
			step.split(p, &scanState{}, func(q piece) {
				if q.s != "" {
					next = append(next, q)
				}
			})
		}
		pieces = next
	}
	var out []string
	for _, p := range pieces {
		if p.s != "" {
			out = append(out, p.s+"\x01")
		}
	}
	return out
}
