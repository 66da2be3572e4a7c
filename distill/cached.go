package distill

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/train"
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
// Record of a position, little-endian: number of top tokens and of different drawn tokens (uint8 each); for each top token its
// id (3 bytes) and -2048 ln p (uint16); for each drawn token its id (3 bytes) and c (uint8). At most 2 + 5k + 4m bytes: 142
// for the default k = 20 and m = 10.

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
	Teacher
	s       Sparse
	seed    uint64
	records map[uint64][]byte // of the positions of a sequence, by the hash of its ids
}

// Cached returns a teacher that asks t once for each sequence and remembers what matters of its answers. It serves losses on
// probabilities at temperature 1. Training cuts the text at the same places in every epoch, so that sequences come again.
func Cached(t Teacher, s Sparse, seed uint64) (Teacher, error) {
	if s.Top == 0 {
		s.Top = 20
	}
	if s.Draws == 0 {
		s.Draws = 10
	}
	if s.Top < 1 || s.Top > 255 || s.Draws < 1 || s.Draws > 255 || s.Top >= t.vocab() {
		return nil, fmt.Errorf("a cache of %d top tokens and %d draws: both must be 1 to 255, and below the vocabulary of %d", s.Top, s.Draws, t.vocab())
	}
	if t.vocab() > 1<<24 {
		return nil, fmt.Errorf("a vocabulary of %d tokens, the cache holds ids up to %d", t.vocab(), 1<<24-1)
	}
	return &cached{t, s, seed, map[uint64][]byte{}}, nil
}

func (c *cached) can() need { return needSparse }

// kept is the number of tokens that a position can have.
func (c *cached) kept() int { return c.s.Top + c.s.Draws }

// Inputs of a batch from a cached teacher: token ids [rows, kept], -1 where there are fewer, and p^ [rows, kept].
const (
	sparseIDs  = "teacher.sparse.ids"
	sparseProb = "teacher.sparse.p"
)

func (c *cached) answer(ctx context.Context, b *train.Batch, w *want) error {
	if w.needs&needSparse == 0 {
		return nil
	}
	n := c.kept()
	ids, p := make([]int32, b.Rows*b.Length*n), make([]float32, b.Rows*b.Length*n)
	for r := range b.Rows {
		seq := b.IDs[r*b.Length : (r+1)*b.Length]
		key := hashIDs(seq)
		record := c.records[key]
		if record == nil {
			var err error
			if record, err = c.ask(ctx, seq, key); err != nil {
				return err
			}
			c.records[key] = record
		}
		for i := range b.Length {
			at := (r*b.Length + i) * n
			record = decodeSparse(record, c.s, ids[at:at+n], p[at:at+n])
		}
	}
	if b.Inputs == nil {
		b.Inputs = map[string]any{}
	}
	b.Inputs[sparseIDs], b.Inputs[sparseProb] = ids, p
	return nil
}

// ask lets the teacher answer for one sequence and encodes what it says.
func (c *cached) ask(ctx context.Context, seq []int32, key uint64) ([]byte, error) {
	b := &train.Batch{Rows: 1, Length: len(seq), IDs: seq}
	if err := c.Teacher.answer(ctx, b, &want{needs: needLogits}); err != nil {
		return nil, err
	}
	logits, vocab := b.Inputs[teacherLogits].([]float32), c.vocab()
	var out []byte
	var scratch []int32
	for i := range seq {
		scratch = largest(scratch[:0], logits[i*vocab:(i+1)*vocab], c.s.Top)
		out = encodeSparse(out, logits[i*vocab:(i+1)*vocab], scratch, c.s, rng.New(c.seed, rng.Hash("sparse teacher"), key, uint64(i)))
	}
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

const codesPerNat = 2048

// encodeSparse appends the record of a position.
func encodeSparse(out []byte, logits []float32, top []int32, s Sparse, r *rng.Source) []byte {
	peak, sum := float64(logits[top[0]]), 0.0
	mass := make([]float64, len(logits)) // e^(z - peak) of the tail
	for i, z := range logits {
		mass[i] = math.Exp(float64(z) - peak)
		sum += mass[i]
	}
	body := make([]byte, 0, 5*len(top)+4*s.Draws)
	for _, id := range top {
		code := math.Round(-math.Log(mass[id]/sum) * codesPerNat)
		body = append(body, byte(id), byte(id>>8), byte(id>>16))
		body = binary.LittleEndian.AppendUint16(body, uint16(min(code, math.MaxUint16)))
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
	return append(append(out, byte(len(top)), byte(drawn)), body...)
}

// decodeSparse reads the record of a position and returns what follows it.
func decodeSparse(in []byte, s Sparse, ids []int32, p []float32) []byte {
	top, drawn := int(in[0]), int(in[1])
	in = in[2:]
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
		ids[k] = -1
	}
	return in
}
