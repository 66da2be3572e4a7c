// Package corpus reads the texts that users name: plain files and JSON lines, as documents and as token ids. Calibration,
// training and evaluation all read through it.
package corpus

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/tokenizer"
)

// Separator is a line that parts documents within a text file.
const Separator = "<|endoftext|>"

// Files returns the files that patterns name, sorted and once each: plain paths, directories (every text file below), or
// globs, in which ** stands for any number of directories. A pattern that names nothing is an error.
func Files(patterns []string) ([]string, error) {
	var out []string
	for _, p := range patterns {
		found, err := expand(p)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, tensor.Errorf(tensor.ErrInvalid, p, "", "names no file")
		}
		out = append(out, found...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func expand(p string) ([]string, error) {
	if st, err := os.Stat(p); err == nil {
		if !st.IsDir() {
			return []string{p}, nil
		}
		p = filepath.Join(p, "**", "*")
	} else if !strings.ContainsAny(p, "*?[") {
		return nil, err
	}
	root, rest, deep := strings.Cut(filepath.ToSlash(p), "**/")
	if !deep {
		return filepath.Glob(p)
	}
	if root == "" {
		root = "."
	}
	var out []string
	err := filepath.WalkDir(filepath.FromSlash(root), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if ok, err := filepath.Match(rest, d.Name()); !ok || err != nil {
			return err
		}
		out = append(out, path)
		return nil
	})
	return out, err
}

// Documents yields the documents of a file: objects of a .jsonl file (fields text, or prompt and completion, or messages, of
// which only what was said), else the stretches of text between separator lines. Text must be UTF-8.
func Documents(path string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for d, err := range documents(path) {
			if !yield(d.plain(), err) {
				return
			}
		}
	}
}

// documents is Documents with conversations as they are.
func documents(path string) iter.Seq2[document, error] {
	if strings.HasSuffix(path, ".jsonl") {
		return jsonDocuments(path)
	}
	return func(yield func(document, error) bool) {
		data, err := os.ReadFile(path)
		if err == nil && !utf8.Valid(data) {
			err = tensor.Errorf(tensor.ErrInvalid, path, "", "is not UTF-8 text")
		}
		if err != nil {
			yield(document{}, err)
			return
		}
		text := strings.TrimPrefix(string(data), "\ufeff")
		for len(text) > 0 {
			doc, rest, found := strings.Cut(text, "\n"+Separator+"\n")
			if !found {
				doc = strings.TrimSuffix(doc, "\n"+Separator)
			}
			if doc != "" && !yield(document{text: doc}, nil) {
				return
			}
			text = rest
		}
	}
}

func jsonDocuments(path string) iter.Seq2[document, error] {
	return func(yield func(document, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(document{}, err)
			return
		}
		defer f.Close()
		sc := bufio.NewScanner(f)
		sc.Buffer(make([]byte, 64<<10), int(limits.Text))
		for n := 1; sc.Scan(); n++ {
			line := bytes.TrimPrefix(bytes.TrimSpace(sc.Bytes()), []byte("\ufeff"))
			if len(line) == 0 {
				continue
			}
			doc, err := parseDocument(line)
			if err != nil {
				yield(document{}, tensor.Errorf(tensor.ErrInvalid, path, fmt.Sprintf("line %d", n), "%v", err))
				return
			}
			if (doc.text != "" || len(doc.chat) > 0) && !yield(doc, nil) {
				return
			}
		}
		if err := sc.Err(); err != nil {
			yield(document{}, tensor.Errorf(tensor.ErrTooLarge, path, "", "%v", err))
		}
	}
}

// Joint says what stands between documents in a stream.
type Joint int

const (
	// Plain puts nothing between documents: the stream of an evaluation, where windows get their own BOS.
	Plain Joint = iota
	// EndOfText ends every document with EOS, or begins it with BOS where there is no EOS: the stream of training.
	EndOfText
	// Marked puts what the tokenizer puts around a text: BOS in front where Encode adds it; else it is EndOfText. It is what
	// the model saw between documents when it was trained.
	Marked
)

// Stream returns the token ids of all documents of the files, one after the other. Conversations are written by the
// tokenizer's chat template, which puts its own marks around them.
func Stream(ctx context.Context, tok *tokenizer.Tokenizer, files []string, joint Joint) ([]int32, error) {
	var out []int32
	front := joint != Plain && tok.BOS() >= 0 && (tok.EOS() < 0 || joint == Marked && tok.PrependsBOS())
	talk := &renderer{tok: tok}
	for _, path := range files {
		for doc, err := range documents(path) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return nil, err
			}
			ids, err := talk.ids(doc)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			if front && (len(ids) == 0 || ids[0] != tok.BOS()) {
				out = append(out, tok.BOS())
			}
			out = append(out, ids...)
			if n := len(ids); joint != Plain && !front && tok.EOS() >= 0 && (n == 0 || ids[n-1] != tok.EOS()) {
				out = append(out, tok.EOS())
			}
		}
	}
	if len(out) == 0 {
		return nil, tensor.Errorf(tensor.ErrInvalid, strings.Join(files, ", "), "", "holds no text")
	}
	return out, nil
}

// chunk is the most text given to the tokenizer at once.
const chunk = 4 << 20

// Calibration reads texts as n sequences of length ids for calibration: Stream, then Samples.
func Calibration(ctx context.Context, tok *tokenizer.Tokenizer, texts []string, n, length int, seed uint64) ([][]int32, error) {
	files, err := Files(texts)
	if err != nil {
		return nil, err
	}
	ids, err := Stream(ctx, tok, files, EndOfText)
	if err != nil {
		return nil, err
	}
	return Samples(ids, tok, n, length, seed), nil
}

// Samples takes n sequences of length ids out of a stream for calibration, with BOS in front where the tokenizer puts
// one. They are spread evenly over the stream, shifted by the seed; a short stream gives fewer.
func Samples(ids []int32, tok *tokenizer.Tokenizer, n, length int, seed uint64) [][]int32 {
	body := length
	if tok.PrependsBOS() && tok.BOS() >= 0 {
		body--
	}
	body = max(1, min(body, len(ids)))
	n = max(1, min(n, len(ids)/body))
	step := len(ids) / n
	shift := 0
	if room := step - body; room > 0 {
		shift = rng.New(seed).Intn(room + 1)
	}
	out := make([][]int32, n)
	for i := range out {
		if body < length && tok.PrependsBOS() && tok.BOS() >= 0 {
			out[i] = append(out[i], tok.BOS())
		}
		out[i] = append(out[i], ids[i*step+shift:i*step+shift+body]...)
	}
	return out
}
