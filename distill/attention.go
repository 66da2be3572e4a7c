package distill

import (
	"fmt"

	"github.com/parelm/pare/internal/train"
)

// Attention transfer (Zagoruyko & Komodakis 2017, arXiv:1612.03928; for transformers Jiao et al. 2020, TinyBERT,
// arXiv:1909.10351, and Wang et al. 2020, MiniLM, arXiv:2002.10957): the student looks at the positions that the teacher looks
// at. With A the attention probabilities of the teacher and B those of the student, for a query, over keys j and heads h
//
//	kl:   (1/heads) sum over h and j of A (ln A - ln B)          mse:  (1/heads) sum over h and j of (B - A)²
//
// averaged over the layers. MiniLM takes the divergence and the last layer alone, which leaves the student free how to get
// there; that is the default. TinyBERT takes squares and several layers; its mean over keys is a sum here, so that the loss
// means the same for sequences of any length. Heads are compared one by one where both layers have as many, else their mean is,
// as Zagoruyko & Komodakis do with channels. Layers are numbered from 0.

func init() {
	register("attention", func() Loss { return &Attention{Term: Term{1}, Distance: "kl"} })
}

// Attention is the distance between attention probabilities. It needs a live teacher.
type Attention struct {
	Term
	// Distance is kl or mse.
	Distance string `yaml:"distance" oneof:"kl mse"`
	// Layers maps layers of the student to layers of the teacher, by number from 0; without it the last of the student follows
	// the last of the teacher.
	Layers map[string]int `yaml:"layers" min:"0"`
	// Mean compares the mean over the heads, also where both have as many.
	Mean bool `yaml:"mean"`
}

func (l *Attention) needs() need { return needMaps }

// mapWant asks for the attention probabilities of a layer, or for their mean over the heads.
type mapWant struct {
	layer int
	mean  bool
}

// name is that of the teacher's probabilities among a batch's inputs, [rows, heads*length] or [rows, length].
func (m mapWant) name() string {
	if m.mean {
		return fmt.Sprintf("teacher.attention.%d.mean", m.layer)
	}
	return fmt.Sprintf("teacher.attention.%d", m.layer)
}

// pairs lists what is mapped, by the student's layer.
func (l *Attention) pairs(b *build) ([]pair, error) {
	if len(l.Layers) > 0 {
		return mapped(l.Layers, "layer", b.layers-1, b.teacherLayers-1)
	}
	p := pair{b.layers - 1, b.teacherLayers - 1}
	for p.student > 0 && b.heads(p.student) == 0 {
		p.student--
	}
	for p.teacher > 0 && b.teacherHeads(p.teacher) == 0 {
		p.teacher--
	}
	return []pair{p}, nil
}

// compared is what of a layer of the student follows what of a layer of the teacher.
type compared struct {
	student int
	teacher mapWant
	heads   int // of the student's layer
}

func (l *Attention) build(b *build) (train.Loss, error) {
	pairs, err := l.pairs(b)
	if err != nil {
		return train.Loss{}, err
	}
	out := train.Loss{Whole: true}
	var list []compared
	for _, p := range pairs {
		s, t := b.heads(p.student), b.teacherHeads(p.teacher)
		if s == 0 || t == 0 {
			return out, fmt.Errorf("layer %d of the student has %d heads, layer %d of the teacher %d: one without attention has none to follow", p.student, s, p.teacher, t)
		}
		c := compared{p.student, mapWant{p.teacher, l.Mean || s != t}, s}
		in := train.Input{Name: c.teacher.name(), Width: b.length}
		if !c.teacher.mean {
			in.Width *= t
		}
		known := false
		for _, x := range out.Inputs {
			known = known || x == in
		}
		if !known {
			out.Inputs = append(out.Inputs, in)
			b.want.maps = append(b.want.maps, c.teacher)
		}
		list = append(list, c)
	}
	out.Draw = func(tape *train.Tape) train.Value {
		sum := l.distance(tape, list[0])
		for _, c := range list[1:] {
			sum = sum.Add(l.distance(tape, c))
		}
		return sum.Scale(1 / float64(len(list)))
	}
	return out, nil
}

// unseen stands beside probabilities in logarithms: a position that no query sees has exactly 0.
const unseen = 1e-20

func (l *Attention) distance(tape *train.Tape, c compared) train.Value {
	a, b, heads := tape.Input(c.teacher.name()), tape.Attention(c.student), c.heads
	if c.teacher.mean {
		b, heads = b.MeanGroups(c.heads), 1
	}
	if l.Distance == "mse" {
		d := b.Sub(a)
		return d.Mul(d).Sum().Scale(1 / float64(heads))
	}
	return a.Mul(a.Plus(unseen).Log().Sub(b.Plus(unseen).Log())).Sum().Scale(1 / float64(heads))
}
