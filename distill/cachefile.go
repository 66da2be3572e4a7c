package distill

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// A cached teacher as a file: the text as token ids, and for every position of it what the teacher says. Numbers are little-endian.
//
//	magic    8 bytes  "PARETCH1"
//	header   uint32 length, JSON (CacheInfo), CRC-32C
//	text     sequences*length + 1 ids, uint32 each, CRC-32C
//	index    sequences + 1 offsets in the file, uint64 each: where records begin, and the end of the last; CRC-32C
//	records  of every sequence: those of its positions, one after the other (see cached.go), CRC-32C
//
// Sequence i is ids [i*length, (i+1)*length), with bos, unless negative, in front and the last id left out. Every part has a checksum
// of its own, so that damage is found where it is read.

const cacheMagic = "PARETCH1"

// CacheInfo describes a cached teacher.
type CacheInfo struct {
	Teacher   string `json:"teacher"`
	Vocab     int    `json:"vocab"`
	Tokenizer string `json:"tokenizer,omitempty"` // fingerprint of the teacher's
	BOS       int32  `json:"bos"`                 // -1 for none
	Length    int    `json:"length"`              // of a sequence, in tokens
	Sequences int    `json:"sequences"`
	Top       int    `json:"top"`
	Draws     int    `json:"draws"` // 0: what is not in the top is one class
	Seed      uint64 `json:"seed"`
	Text      string `json:"text_sha256"`
}

// CacheFile is an open cached teacher.
type CacheFile struct {
	CacheInfo
	path string
	r    io.ReaderAt
	c    io.Closer
	ids  []int32
	at   []uint64
	seqs map[uint64]int // by the hash of a sequence
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxCacheHeader bounds the header: a few hundred bytes.
const maxCacheHeader = 1 << 20

// cacheLimit bounds the tokens of a cache by what its index would take in memory.
const cacheLimit = 1 << 34

// IsCache reports whether a file begins as a cached teacher does.
func IsCache(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, len(cacheMagic))
	_, err = io.ReadFull(f, magic)
	return err == nil && string(magic) == cacheMagic
}

// OpenCache opens a cached teacher and reads its text and index.
func OpenCache(path string) (*CacheFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	var c *CacheFile
	if err == nil {
		c, err = readCache(path, f, info.Size())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	c.c = f
	return c, nil
}

// Close closes the file.
func (c *CacheFile) Close() error { return c.c.Close() }

func (c *CacheFile) errorf(field, format string, args ...any) error {
	return tensor.Errorf(tensor.ErrCorrupt, c.path, field, format, args...)
}

// readCache reads everything but the records.
func readCache(path string, r io.ReaderAt, size int64) (*CacheFile, error) {
	c := &CacheFile{path: path, r: r, seqs: map[uint64]int{}}
	in := io.NewSectionReader(r, 0, size)
	start := make([]byte, 12)
	if _, err := io.ReadFull(in, start); err != nil || string(start[:8]) != cacheMagic {
		return nil, c.errorf("magic", "is no cached teacher: it begins with %q", start[:8])
	}
	n := int64(binary.LittleEndian.Uint32(start[8:]))
	if n > maxCacheHeader {
		return nil, c.errorf("header", "has %d bytes, the limit is %d", n, maxCacheHeader)
	}
	data, err := c.part(in, "header", n)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &c.CacheInfo); err != nil {
		return nil, c.errorf("header", "%v", err)
	}
	if err := c.check(size); err != nil {
		return nil, err
	}
	if data, err = c.part(in, "text", 4*(int64(c.Sequences)*int64(c.Length)+1)); err != nil {
		return nil, err
	}
	c.ids = make([]int32, len(data)/4)
	for i := range c.ids {
		if c.ids[i] = int32(binary.LittleEndian.Uint32(data[4*i:])); c.ids[i] < 0 || int(c.ids[i]) >= c.Vocab {
			return nil, c.errorf("text", "token %d is %d, the vocabulary has %d", i, c.ids[i], c.Vocab)
		}
	}
	if data, err = c.part(in, "index", 8*int64(c.Sequences+1)); err != nil {
		return nil, err
	}
	return c, c.index(data, size)
}

// index reads where records lie.
func (c *CacheFile) index(data []byte, size int64) error {
	c.at = make([]uint64, c.Sequences+1)
	for i := range c.at {
		c.at[i] = binary.LittleEndian.Uint64(data[8*i:])
		if i > 0 && (c.at[i] < c.at[i-1]+4 || c.at[i] > uint64(size) || c.at[i]-c.at[i-1] > uint64(c.Length*(4+9*255)+4)) {
			return c.errorf("index", "the records of sequence %d lie at %d to %d of %d bytes", i-1, c.at[i-1], c.at[i], size)
		}
	}
	for i := range c.Sequences {
		c.seqs[hashIDs(c.sequence(i))] = i
	}
	return nil
}

// check holds the header to the size of the file.
func (c *CacheFile) check(size int64) error {
	tokens, err := limits.Product(int64(max(0, c.Sequences)), int64(max(0, c.Length)))
	switch {
	case err != nil || c.Sequences < 1 || c.Length < 2 || tokens > cacheLimit || 8*tokens > 2*size+16:
		return c.errorf("header", "%d sequences of %d tokens do not fit %d bytes", c.Sequences, c.Length, size)
	case c.Vocab < 2 || c.Vocab > 1<<24 || int(c.BOS) >= c.Vocab || c.BOS < -1:
		return c.errorf("header", "vocabulary of %d, bos %d", c.Vocab, c.BOS)
	case c.Top < 1 || c.Top > 255 || c.Draws < 0 || c.Draws > 255:
		return c.errorf("header", "%d top tokens and %d draws, both are at most 255", c.Top, c.Draws)
	}
	return nil
}

// part reads bytes and the checksum behind them.
func (c *CacheFile) part(in io.Reader, what string, n int64) ([]byte, error) {
	data := make([]byte, n+4)
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, c.errorf(what, "the file ends within its %d bytes", n)
	}
	body := data[:n]
	if got, want := crc32.Checksum(body, castagnoli), binary.LittleEndian.Uint32(data[n:]); got != want {
		return nil, c.errorf(what, "has the checksum %08x, the file says %08x", got, want)
	}
	return body, nil
}

// sequence returns the ids that the student reads.
func (c *CacheFile) sequence(i int) []int32 {
	b := newBatch(1, c.Length)
	fill(b, c.ids[i*c.Length:(i+1)*c.Length+1], c.BOS)
	return b.IDs
}

// records reads the records of a sequence.
func (c *CacheFile) records(i int) ([]byte, error) {
	data := make([]byte, c.at[i+1]-c.at[i])
	if _, err := c.r.ReadAt(data, int64(c.at[i])); err != nil {
		return nil, c.errorf(fmt.Sprintf("sequence %d", i), "%v", err)
	}
	return c.part(bytes.NewReader(data), fmt.Sprintf("sequence %d", i), int64(len(data)-4))
}

// Text returns the text that the cache has answers for.
func (c *CacheFile) Text() Text { return Text{IDs: c.ids, BOS: c.BOS} }

// Compatible returns an error unless the student means the same by every token id as the teacher did.
func (c *CacheFile) Compatible(student *model.Model) error {
	if n := student.Graph.Logits.Out.Size(); n != c.Vocab {
		return tensor.Errorf(tensor.ErrInvalid, student.Path, "vocabulary", "has %d rows, the cached teacher's %d (%s)", n, c.Vocab, c.path)
	}
	tok, err := student.Tokenizer()
	if err == nil && c.Tokenizer != "" && tok.Fingerprint() != c.Tokenizer {
		return tensor.Errorf(tensor.ErrInvalid, student.Path, "tokenizer", "is not that of the cached teacher (%s, made of %s)", c.path, c.CacheInfo.Teacher)
	}
	return nil
}

// Teacher returns the file as a teacher. Training then learns from the file's own text, cut as the file is.
func (c *CacheFile) Teacher() Teacher {
	return &cached{tokens: c.Vocab, s: Sparse{Top: c.Top, Draws: c.Draws}, file: c, record: func(_ context.Context, ids []int32) ([]byte, error) {
		i, ok := c.seqs[hashIDs(ids)]
		if !ok || !slices.Equal(ids, c.sequence(i)) {
			return nil, tensor.Errorf(tensor.ErrInvalid, c.path, "index", "has no answers for a sequence of %d tokens: it was made of another text or length", len(ids))
		}
		return c.records(i)
	}}
}

// textDigest identifies a text.
func textDigest(t Text) string {
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, t.BOS) // a hash takes everything
	_ = binary.Write(h, binary.LittleEndian, t.IDs)
	return hex.EncodeToString(h.Sum(nil))
}
