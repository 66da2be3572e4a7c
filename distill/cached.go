package distill

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model/tensor"
)

// A cached teacher is asked once for each sequence, and what it said is kept in a few bytes a token: its k most probable tokens with
// their probabilities, and of the others m draws with replacement in proportion to their probability (Anshumann et al. 2025,
// Sparse Logit Sampling, arXiv:2503.16870). With c(i) of the m draws falling on token i the kept distribution is
//
//	p^(i) = p(i) in the top k,   p_tail * c(i) / m elsewhere,     p_tail = 1 - sum of the top k
//
// Its expectation is p, so the gradient q - p^ of the divergence is that of the whole distribution on average. Keeping the top
// k alone has no such property: it teaches the student that everything else is impossible.
//
// Draws depend on the seed and the sequence, so a sequence that is asked for again after a kill gets the same answer.
//
// Record of a position, little-endian: number of top tokens and of different drawn tokens (uint8 each); the entropy of the whole
// distribution as 4096 H (uint16); for each top token its id (3 bytes) and -2048 ln p (uint16); for each drawn token its id (3 bytes)
// and c (uint8). At most 4 + 5k + 4m bytes: 144 for the default k = 20 and m = 10. Without draws (m = 0, of teachers that say
// no more than their top k) what is left over is one class, the tail.

// Sparse says how much a cached teacher keeps of a position.
type Sparse struct {
	// Top is the number of most probable tokens that are kept with their probabilities.
	// It is 20 where it is not given.
	Top int `yaml:"top" min:"1" max:"255"`
	// Draws is the number of draws from the others; 10 where it is not given.
	Draws int `yaml:"draws" min:"1" max:"255"`
}

// cached is a teacher whose answers are kept.
type cached struct {
	tokens int // of the vocabulary
	s      Sparse
	file   *CacheFile // nil for answers in memory
	// record returns what is kept of the positions of a sequence.
	record func(ctx context.Context, ids []int32) ([]byte, error)
}

// Cached returns a teacher that asks t once for each sequence and remembers what matters of its answers. It serves losses on
// probabilities at temperature 1. Training cuts the text at the same places in every epoch, so that sequences come again.
func Cached(t Teacher, s Sparse, seed uint64) (Teacher, error) {
	if err := s.complete(t); err != nil {
		return nil, err
	}
	records := map[uint64][]byte{} // by the hash of a sequence
	return &cached{tokens: t.vocab(), s: s, record: func(ctx context.Context, ids []int32) ([]byte, error) {
		key := hashIDs(ids)
		if records[key] == nil {
			asked, err := askRecords(ctx, t, [][]int32{ids}, s, seed)
			if err != nil {
				return nil, err
			}
			records[key] = asked[0]
		}
		return records[key], nil
	}}, nil
}

// complete fills in defaults and checks what is kept against what a teacher knows.
func (s *Sparse) complete(t Teacher) error {
	draws := t.can()&needLogits != 0
	if s.Top == 0 {
		s.Top = 20
		if n := t.most(); n > 0 {
			s.Top = min(s.Top, n)
		}
	}
	if s.Draws == 0 && draws {
		s.Draws = 10
	}
	if s.Top < 1 || s.Top > 255 || s.Draws < 0 || s.Draws > 255 || s.Top >= t.vocab() {
		return fmt.Errorf("a cache of %d top tokens and %d draws: both must be 1 to 255, and below the vocabulary of %d", s.Top, s.Draws, t.vocab())
	}
	if t.vocab() > 1<<24 {
		return fmt.Errorf("a vocabulary of %d tokens, the cache holds ids up to %d", t.vocab(), 1<<24-1)
	}
	if n := t.most(); n > 0 && s.Top > n {
		return fmt.Errorf("a cache of %d top tokens: this teacher names %d", s.Top, n)
	}
	if !draws && s.Draws > 0 {
		return fmt.Errorf("a cache of %d draws: this teacher names its most probable tokens and cannot be drawn from", s.Draws)
	}
	return nil
}

func (c *cached) vocab() int { return c.tokens }

func (c *cached) shape() (layers, width int) { return 0, 0 }

func (c *cached) can() need {
	if c.s.Draws == 0 {
		return needTop
	}
	return needSparse | needTop
}

func (c *cached) most() int { return c.s.Top }

// kept is the number of tokens that a position can have.
func (c *cached) kept() int { return c.s.Top + c.s.Draws }

// Inputs of a batch from a cached teacher: token ids [rows, kept], -1 where there are fewer, p^ [rows, kept], and the entropy
// of the whole distribution [rows].
const (
	sparseIDs     = "teacher.sparse.ids"
	sparseProb    = "teacher.sparse.p"
	sparseEntropy = "teacher.sparse.h"
)

func (c *cached) answer(ctx context.Context, b *train.Batch, w *want) error {
	if b.Inputs == nil {
		b.Inputs = map[string]any{}
	}
	n, rows := c.kept(), b.Rows*b.Length
	ids, p, h := make([]int32, rows*n), make([]float32, rows*n), make([]float32, rows)
	tops := newTops(b, w, rows)
	for r := range b.Rows {
		record, err := c.record(ctx, b.IDs[r*b.Length:(r+1)*b.Length])
		if err != nil {
			return err
		}
		for i := range b.Length {
			row := r*b.Length + i
			at := row * n
			if record, h[row], err = decodeSparse(record, ids[at:at+n], p[at:at+n]); err != nil {
				return err
			}
			for _, t := range tops {
				t.set(row, ids[at:], p[at:])
			}
		}
	}
	if w.needs&needSparse != 0 {
		b.Inputs[sparseIDs], b.Inputs[sparseProb], b.Inputs[sparseEntropy] = ids, p, h
	}
	return nil
}

// askRecords lets a teacher answer for sequences of one length and encodes what it says. Draws depend on the seed and the sequence alone.
func askRecords(ctx context.Context, t Teacher, seqs [][]int32, s Sparse, seed uint64) ([][]byte, error) {
	length := len(seqs[0])
	b := &train.Batch{Rows: len(seqs), Length: length}
	for _, ids := range seqs {
		b.IDs = append(b.IDs, ids...)
	}
	w := &want{needs: needLogits}
	if s.Draws == 0 {
		w = &want{needs: needTop, top: []topWant{{s.Top, 1}}}
	}
	if err := t.answer(ctx, b, w); err != nil {
		return nil, err
	}
	out := make([][]byte, len(seqs))
	if s.Draws == 0 {
		ids, kept, tail := topNames(s.Top, 1)
		for r := range out {
			for i := r * length; i < (r+1)*length; i++ {
				out[r] = encodeTop(out[r], b.Inputs[ids].([]int32)[i*s.Top:(i+1)*s.Top], b.Inputs[kept].([]float32)[i*s.Top:], b.Inputs[tail].([]float32)[i])
			}
		}
		return out, nil
	}
	logits, vocab := b.Inputs[teacherLogits].([]float32), t.vocab()
	par.For(len(seqs), 1, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			key := hashIDs(seqs[r])
			var top []int32
			for i := range length {
				row := logits[(r*length+i)*vocab:][:vocab]
				top = largest(top[:0], row, s.Top)
				out[r] = encodeSparse(out[r], row, top, s, rng.New(seed, rng.Hash("sparse teacher"), key, uint64(i)))
			}
		}
	})
	return out, nil
}

// hashIDs identifies a sequence (FNV-1a over its ids, mixed).
func hashIDs(ids []int32) uint64 {
	h := uint64(14695981039346656037)
	for _, id := range ids {
		for s := 0; s < 32; s += 8 {
			h = (h ^ uint64(byte(id>>s))) * 1099511628211
		}
	}
	return rng.New(h).Uint64()
}

const (
	codesPerNat  = 2048 // of ln p
	entropyCodes = 4096 // per nat of entropy
)

// head begins the record of a position.
func head(out []byte, top, drawn int, entropy float64) []byte {
	h := uint16(max(0, min(math.Round(entropy*entropyCodes), math.MaxUint16)))
	return binary.LittleEndian.AppendUint16(append(out, byte(top), byte(drawn)), h)
}

// putTop appends a top token.
func putTop(out []byte, id int32, p float64) []byte {
	code := math.Round(-math.Log(p) * codesPerNat)
	return binary.LittleEndian.AppendUint16(append(out, byte(id), byte(id>>8), byte(id>>16)), uint16(max(0, min(code, math.MaxUint16))))
}

// encodeTop appends the record of a position of which the top alone are known; kept and tail are ln p.
func encodeTop(out []byte, ids []int32, kept []float32, tail float32) []byte {
	entropy := -float64(tail) * math.Exp(float64(tail))
	if k := slices.Index(ids, -1); k >= 0 {
		ids = ids[:k]
	}
	for i := range ids {
		entropy -= float64(kept[i]) * math.Exp(float64(kept[i]))
	}
	out = head(out, len(ids), 0, entropy)
	for i, id := range ids {
		out = putTop(out, id, math.Exp(float64(kept[i])))
	}
	return out
}

// encodeSparse appends the record of a position.
func encodeSparse(out []byte, logits []float32, top []int32, s Sparse, r *rng.Source) []byte {
	peak, sum, weighed := float64(logits[top[0]]), 0.0, 0.0
	mass := make([]float64, len(logits)) // e^(z - peak) of the tail
	for i, z := range logits {
		mass[i] = math.Exp(float64(z) - peak)
		sum += mass[i]
		if mass[i] > 0 {
			weighed += mass[i] * (float64(z) - peak)
		}
	}
	body := make([]byte, 0, 5*len(top)+4*s.Draws)
	for _, id := range top {
		body = putTop(body, id, mass[id]/sum)
		mass[id] = 0
	}
	rest := 0.0
	for _, m := range mass {
		rest += m
	}
	points := make([]float64, s.Draws)
	for i := range points {
		points[i] = r.Float64() * rest
	}
	slices.Sort(points)
	drawn, at, below := 0, 0, 0.0
	for i, m := range mass {
		below += m
		n := 0
		for rest > 0 && m > 0 && at < len(points) && points[at] < below {
			n, at = n+1, at+1
		}
		if n > 0 {
			body = append(body, byte(i), byte(i>>8), byte(i>>16), byte(n))
			drawn++
		}
	}
	return append(head(out, len(top), drawn, math.Log(sum)-weighed/sum), body...)
}

// decodeSparse reads the record of a position and returns what follows it, and the entropy. ids and p have room for all tokens
// that a record may hold.
func decodeSparse(in []byte, ids []int32, p []float32) (rest []byte, entropy float32, err error) {
	if len(in) < 4 || len(in) < 4+5*int(in[0])+4*int(in[1]) || int(in[0])+int(in[1]) > len(ids) {
		return nil, 0, fmt.Errorf("record of a position: %d bytes are no record of at most %d tokens: %w", len(in), len(ids), tensor.ErrCorrupt)
	}
	top, drawn := int(in[0]), int(in[1])
	entropy = float32(binary.LittleEndian.Uint16(in[2:])) / entropyCodes
	in = in[4:]
	sum, k, draws := 0.0, 0, 0
	id := func() int32 { return int32(in[0]) | int32(in[1])<<8 | int32(in[2])<<16 }
	for range top {
		v := math.Exp(-float64(binary.LittleEndian.Uint16(in[3:])) / codesPerNat)
		ids[k], p[k], in = id(), float32(v), in[5:]
		sum, k = sum+v, k+1
	}
	for range drawn {
		ids[k], p[k], in = id(), float32(in[3]), in[4:]
		draws, k = draws+int(p[k]), k+1
	}
	for i := top; i < k; i++ {
		p[i] *= float32(max(0, 1-sum) / float64(draws))
	}
	for ; k < len(ids); k++ {
		ids[k], p[k] = -1, 0
	}
	return in, entropy, nil
}
