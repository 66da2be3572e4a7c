package distill

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/parelm/pare/internal/train"
)

// Distance between hidden states (Romero et al. 2015, FitNets; Jiao et al. 2020, TinyBERT): the residual stream of the student
// after some layers follows that of the teacher after the layers they are mapped to. With hidden states s and t of
// width H
//
//	mse:     (1/H) sum (P s - t)²            cosine:  1 - (P s)·t / (|P s| |t|)
//
// averaged over the layers. P is a projection that is trained along where the widths differ, and absent where they are the
// same. States are numbered from 0, what enters the first layer, to the number of layers, what leaves the last.

func init() {
	register("hidden", func() Loss { return &Hidden{Term: Term{1}, Distance: "mse"} })
}

// Hidden is the distance between hidden states.
type Hidden struct {
	Term
	// Distance is mse or cosine.
	Distance string `yaml:"distance" oneof:"mse cosine"`
	// Layers maps states of the student to states of the teacher, by number; without it every state of the student but the
	// first follows the one of the teacher that lies as deep.
	Layers map[string]int `yaml:"layers" min:"0"`
}

func (l *Hidden) needs() need { return needHidden }

// pair is a state or layer of the student and the one of the teacher that it follows.
type pair struct{ student, teacher int }

// pairs lists what is mapped, by the student's state.
func (l *Hidden) pairs(b *build) ([]pair, error) {
	if len(l.Layers) > 0 {
		return mapped(l.Layers, "state", b.layers, b.teacherLayers)
	}
	var out []pair
	for i := 1; i <= b.layers; i++ {
		out = append(out, pair{i, int(math.Round(float64(i*b.teacherLayers) / float64(b.layers)))})
	}
	return out, nil
}

// mapped reads a mapping of the student's states or layers to the teacher's; what says which, and the last of both follow.
func mapped(layers map[string]int, what string, student, teacher int) ([]pair, error) {
	var out []pair
	for key, t := range layers {
		s, err := strconv.Atoi(key)
		if err != nil || strconv.Itoa(s) != key || s < 0 || s > student {
			return nil, fmt.Errorf("layers: %q is no %s of the student, which has 0 to %d", key, what, student)
		}
		if t < 0 || t > teacher {
			return nil, fmt.Errorf("layers: %d is no %s of the teacher, which has 0 to %d", t, what, teacher)
		}
		out = append(out, pair{s, t})
	}
	slices.SortFunc(out, func(a, b pair) int { return a.student - b.student })
	return out, nil
}

// hiddenName is the name of a state of the teacher among a batch's inputs, [rows, width].
func hiddenName(i int) string { return fmt.Sprintf("teacher.hidden.%d", i) }

func projectionName(p pair) string { return fmt.Sprintf("projection.%d.%d", p.student, p.teacher) }

func (l *Hidden) build(b *build) (train.Loss, error) {
	pairs, err := l.pairs(b)
	if err != nil {
		return train.Loss{}, err
	}
	out := train.Loss{Whole: true}
	for _, p := range pairs {
		in := train.Input{Name: hiddenName(p.teacher), Width: b.teacherWidth}
		if !slices.Contains(out.Inputs, in) {
			out.Inputs = append(out.Inputs, in)
		}
		b.want.hidden = append(b.want.hidden, p.teacher)
		if b.width != b.teacherWidth {
			out.Params = append(out.Params, train.Param{Name: projectionName(p), Out: b.teacherWidth, In: b.width, Deviation: 1 / math.Sqrt(float64(b.width))})
		}
	}
	out.Draw = func(tape *train.Tape) train.Value {
		var sum train.Value
		for i, p := range pairs {
			s, t := tape.Hidden(p.student), tape.Input(hiddenName(p.teacher))
			if b.width != b.teacherWidth {
				s = s.Times(tape.Param(projectionName(p)))
			}
			d := l.distance(s, t)
			if i > 0 {
				d = d.Add(sum)
			}
			sum = d
		}
		return sum.Scale(1 / float64(len(pairs)))
	}
	return out, nil
}

func (l *Hidden) distance(s, t train.Value) train.Value {
	if l.Distance == "cosine" {
		product := s.Mul(s).Sum().Mul(t.Mul(t).Sum())
		return s.Mul(t).Sum().Div(product.Plus(1e-30).Sqrt()).Scale(-1).Plus(1)
	}
	d := s.Sub(t)
	return d.Mul(d).Mean()
}
