package distill

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model"
)

// CacheSettings says what a cached teacher keeps.
type CacheSettings struct {
	Sparse
	// MaxSeqLength is the length of a sequence in tokens; 0 means the teacher's context, at most 256.
	MaxSeqLength int `yaml:"max_seq_length" min:"0"`
	// MaxTokens bounds the text, from its start; 0 means all.
	MaxTokens int `yaml:"max_tokens" min:"0"`
	// Seed starts the draws.
	Seed uint64 `yaml:"-"`
}

// Length returns the length of sequences for a model.
func (s *CacheSettings) Length(c *model.Config) int {
	t := Settings{MaxSeqLength: s.MaxSeqLength}
	return t.Length(c)
}

// Sequences returns how many sequences a text of so many tokens makes.
func (s *CacheSettings) Sequences(tokens, length int) int {
	if s.MaxTokens > 0 {
		tokens = min(tokens, s.MaxTokens+1)
	}
	return max(0, tokens-1) / length
}

// together is how many sequences the teacher is asked about at once, and of how many answers a checkpoint consists.
const (
	askedTogether = 8
	partSequences = 64
)

// WriteCache asks a teacher about a text and writes what it says as a file that OpenCache reads. m is the model whose tokenizer the
// text was read with and whose context bounds sequences: the teacher itself, or for a remote one a student. With checkpoints in o a
// killed run goes on where it was; the bytes are the same.
func WriteCache(ctx context.Context, w io.Writer, t Teacher, m *model.Model, text Text, s CacheSettings, o Options) (*CacheInfo, error) {
	if err := s.complete(t); err != nil {
		return nil, err
	}
	length := s.Length(m.Config)
	n := s.Sequences(len(text.IDs), length)
	if n < 1 {
		return nil, fmt.Errorf("%d tokens of text make no sequence of %d", len(text.IDs), length)
	}
	text.IDs = text.IDs[:n*length+1]
	c := &CacheFile{ids: text.IDs, CacheInfo: CacheInfo{Vocab: t.vocab(), BOS: text.BOS, Length: length, Sequences: n, Top: s.Top, Draws: s.Draws,
		Seed: s.Seed, Text: textDigest(text), Teacher: o.Name}}
	if tok, err := m.Tokenizer(); err == nil {
		c.Tokenizer = tok.Fingerprint()
	}
	parts, err := c.gather(ctx, t, s, o)
	if err != nil {
		return nil, err
	}
	return &c.CacheInfo, c.write(w, parts)
}

// gather asks the teacher about all sequences, part by part. A part is its records, each behind its length.
func (c *CacheFile) gather(ctx context.Context, t Teacher, s CacheSettings, o Options) (parts []func() (io.ReadCloser, error), err error) {
	states := o.Checkpoints
	if states == nil {
		states = memoryStates{}
	}
	task := progress.Start(ctx, "ask the teacher", "tokens", int64(c.Sequences)*int64(c.Length))
	defer task.Done()
	for lo := 0; lo < c.Sequences; lo += partSequences {
		hi := min(lo+partSequences, c.Sequences)
		name := fmt.Sprintf("answers-%08d", lo)
		open := func() (io.ReadCloser, error) { return states.Open(name) }
		have, err := open()
		if err != nil {
			return nil, err
		}
		if have != nil {
			if err := have.Close(); err != nil {
				return nil, err
			}
		} else if err := c.ask(ctx, t, s, states, name, lo, hi); err != nil {
			return nil, err
		}
		task.Add(int64((hi - lo) * c.Length))
		parts = append(parts, open)
	}
	return parts, nil
}

// ask saves a part.
func (c *CacheFile) ask(ctx context.Context, t Teacher, s CacheSettings, states Checkpoints, name string, lo, hi int) error {
	var part []byte
	for ; lo < hi; lo += askedTogether {
		if err := ctx.Err(); err != nil {
			return err
		}
		var seqs [][]int32
		for i := lo; i < min(lo+askedTogether, hi); i++ {
			seqs = append(seqs, c.sequence(i))
		}
		records, err := askRecords(ctx, t, seqs, s.Sparse, s.Seed)
		if err != nil {
			return err
		}
		for _, r := range records {
			part = append(binary.LittleEndian.AppendUint32(part, uint32(len(r))), r...)
		}
	}
	return states.Save(name, func(w io.Writer) error {
		_, err := w.Write(part)
		return err
	})
}

// write puts the file together: sizes first, for the index, then the records.
func (c *CacheFile) write(w io.Writer, parts []func() (io.ReadCloser, error)) error {
	header, err := json.Marshal(&c.CacheInfo)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<20)
	start := binary.LittleEndian.AppendUint32([]byte(cacheMagic), uint32(len(header)))
	if _, err := out.Write(start); err != nil {
		return err
	}
	ids := make([]byte, 0, 4*len(c.ids))
	for _, id := range c.ids {
		ids = binary.LittleEndian.AppendUint32(ids, uint32(id))
	}
	at := uint64(len(start) + len(header) + 4 + len(ids) + 4 + 8*(c.Sequences+1) + 4)
	index := binary.LittleEndian.AppendUint64(nil, at)
	err = eachRecord(parts, func(r []byte) error {
		at += uint64(len(r) + 4)
		index = binary.LittleEndian.AppendUint64(index, at)
		return nil
	})
	if err != nil {
		return err
	}
	for _, part := range [][]byte{header, ids, index} {
		if err := writePart(out, part); err != nil {
			return err
		}
	}
	if err := eachRecord(parts, func(r []byte) error { return writePart(out, r) }); err != nil {
		return err
	}
	return out.Flush()
}

// writePart writes bytes and their checksum.
func writePart(w io.Writer, data []byte) error {
	if _, err := w.Write(data); err != nil {
		return err
	}
	_, err := w.Write(binary.LittleEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli)))
	return err
}

// eachRecord visits the records of all sequences in their order.
func eachRecord(parts []func() (io.ReadCloser, error), f func(r []byte) error) error {
	for i, open := range parts {
		r, err := open()
		if err == nil && r == nil {
			err = fmt.Errorf("answers of part %d are gone", i)
		}
		if err != nil {
			return err
		}
		err = eachOf(bufio.NewReader(r), f)
		if e := r.Close(); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func eachOf(r io.Reader, f func(r []byte) error) error {
	for {
		var n uint32
		if err := binary.Read(r, binary.LittleEndian, &n); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		if err := f(data); err != nil {
			return err
		}
	}
}

// memoryStates are checkpoints that live as long as the process.
type memoryStates map[string][]byte

// Save implements Checkpoints.
func (m memoryStates) Save(name string, write func(w io.Writer) error) error {
	var b bytes.Buffer
	err := write(&b)
	m[name] = b.Bytes()
	return err
}

// Open implements Checkpoints; there is nothing to read under a name that was not saved.
func (m memoryStates) Open(name string) (io.ReadCloser, error) {
	if data, ok := m[name]; ok {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return nil, nil
}

// List implements Checkpoints.
func (m memoryStates) List() ([]string, error) { return slices.Sorted(maps.Keys(m)), nil }

// Delete implements Checkpoints.
func (m memoryStates) Delete(name string) error { delete(m, name); return nil }
