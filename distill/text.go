package distill

import (
	"context"
	"fmt"
	"slices"

	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
)

// Text is what a student learns from: token ids of documents, one after the other.
type Text struct {
	IDs []int32
	// BOS, unless negative, is put in front of every sequence, as the models' tokenizer does.
	BOS int32
}

// order places the sequences of a text. Each epoch cuts the text at other places and takes the pieces in another order;
// both depend on the seed and the epoch alone, so that any sequence can be found again from its number.
type order struct {
	text   Text
	seed   uint64
	length int
	pieces int   // in an epoch
	fixed  []int // unless nil, every epoch cuts at these places

	epoch int // that the fields below are of; -1 before the first
	shift int
	perm  []int
}

func newOrder(t Text, length int, seed uint64) (*order, error) {
	if len(t.IDs) < length+1 {
		return nil, fmt.Errorf("%d tokens of training text make no sequence of %d", len(t.IDs), length)
	}
	o := &order{text: t, seed: seed, length: length, epoch: -1}
	o.pieces = max(1, (len(t.IDs)-1)/length-1)
	return o, nil
}

// start returns where sequence i begins in the text.
func (o *order) start(i int) int {
	if e := i / o.pieces; e != o.epoch {
		r := rng.New(o.seed, rng.Hash("distill epoch"), uint64(e))
		room := len(o.text.IDs) - 1 - o.pieces*o.length
		o.epoch, o.shift, o.perm = e, r.Intn(max(0, min(room, o.length))+1), r.Perm(o.pieces)
	}
	if o.fixed != nil {
		return o.fixed[o.perm[i%o.pieces]]
	}
	return o.shift + o.perm[i%o.pieces]*o.length
}

// newFixedOrder places the sequences that a cached teacher has answers for: the text cut into pieces of one length from its start, so
// that they come again in every epoch. held is a share of them that is held back.
func newFixedOrder(t Text, length int, seed uint64, share float64) (o *order, held [][]int32, err error) {
	n := (len(t.IDs) - 1) / length
	if n < 1 {
		return nil, nil, fmt.Errorf("%d tokens of training text make no sequence of %d", len(t.IDs), length)
	}
	out := int(share * float64(n) / stretch)
	if share > 0 && n >= 4*stretch {
		out = max(out, 1)
	}
	o = &order{text: t, seed: seed, length: length, epoch: -1, fixed: []int{}}
	for i := range n {
		if out > 0 && i/(n/out) < out && i%(n/out) < stretch && n/out > stretch {
			held = append(held, slices.Clone(t.IDs[i*length:(i+1)*length+1]))
			continue
		}
		o.fixed = append(o.fixed, i*length)
	}
	o.pieces = len(o.fixed)
	return o, held, nil
}

// batch returns the sequences first to first+rows.
func (o *order) batch(first, rows int) *train.Batch {
	b := newBatch(rows, o.length)
	for r := range rows {
		at := o.start(first + r)
		fill(b, o.text.IDs[at:at+o.length+1], o.text.BOS)
	}
	return b
}

func newBatch(rows, length int) *train.Batch {
	return &train.Batch{Rows: rows, Length: length, IDs: make([]int32, 0, rows*length), Labels: make([]int32, 0, rows*length)}
}

// fill appends a sequence: length+1 ids, of which the last is only a label, or with BOS in front the last is left out.
func fill(b *train.Batch, ids []int32, bos int32) {
	n := b.Length
	if bos < 0 {
		b.IDs, b.Labels = append(b.IDs, ids[:n]...), append(b.Labels, ids[1:n+1]...)
		return
	}
	b.IDs = append(append(b.IDs, bos), ids[:n-1]...)
	b.Labels = append(b.Labels, ids[:n]...)
}

// stretch is how many sequences held back lie together: what follows them in the text is close to them.
const stretch = 4

// split holds a share of a text back, in stretches that are spread evenly over it. The rest is joined.
func split(t Text, share float64, length int) (rest Text, held [][]int32) {
	n := int(share * float64(len(t.IDs)) / float64(stretch*length))
	if share > 0 {
		n = max(n, 1)
	}
	every := len(t.IDs) / max(n, 1)
	if n == 0 || every < 2*(stretch*length+1) { // too short to spare any
		return t, nil
	}
	rest = Text{BOS: t.BOS}
	for i := range n {
		piece := t.IDs[i*every : (i+1)*every]
		if i == n-1 {
			piece = t.IDs[i*every:]
		}
		cut := (every - stretch*length) / 2
		rest.IDs = append(rest.IDs, piece[:cut]...)
		for k := range stretch {
			held = append(held, slices.Clone(piece[cut+k*length:cut+(k+1)*length+1]))
		}
		rest.IDs = append(rest.IDs, piece[cut+stretch*length+1:]...)
	}
	return rest, held
}

// maxHeld bounds the sequences that one look at the validation loss takes.
const maxHeld = 64

// thin takes at most maxHeld of them, evenly.
func thin(held [][]int32) [][]int32 {
	if len(held) <= maxHeld {
		return held
	}
	out := make([][]int32, maxHeld)
	for i := range out {
		out[i] = held[i*len(held)/maxHeld]
	}
	return out
}

// ReadText reads files as a student's tokenizer sees them, with what it puts around a document between them. Files are
// named as in recipes: paths, directories or globs, of plain text or JSON lines.
func ReadText(ctx context.Context, student *model.Model, files []string) (Text, error) {
	tok, err := student.Tokenizer()
	if err != nil {
		return Text{}, err
	}
	paths, err := corpus.Files(files)
	if err != nil {
		return Text{}, err
	}
	ids, err := corpus.Stream(ctx, tok, paths, corpus.Marked)
	t := Text{IDs: ids, BOS: -1}
	if tok.PrependsBOS() {
		t.BOS = tok.BOS()
	}
	return t, err
}
