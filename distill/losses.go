package distill

import (
	"fmt"
	"maps"
	"slices"

	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// Loss is one term of what training makes small: CE, KL and the other types of this package.
type Loss interface {
	term() *Term
	// build returns the loss for a student, as something to draw.
	build(b *build) (train.Loss, error)
	// needs says what the loss has to know of the teacher.
	needs() need
}

// Term is what all losses share.
type Term struct {
	// Weight is the factor of the loss in the sum.
	Weight float64 `yaml:"weight" min:"0"`
}

func (t *Term) term() *Term { return t }

// Soft is what losses between probabilities share.
type Soft struct {
	Term
	// Temperature softens the probabilities of teacher and student; 0 takes the stage's. The loss is multiplied by its
	// square, so that gradients keep their size (Hinton et al. 2015).
	Temperature float64 `yaml:"temperature" min:"0"`
}

// at returns the temperature.
func (s *Soft) at(b *build) float64 {
	if s.Temperature > 0 {
		return s.Temperature
	}
	return b.temperature
}

// need is what losses have to know of the teacher.
type need int

const (
	needLogits need = 1 << iota // of every position
	needTop                     // the most probable tokens
	needHidden                  // hidden states
	needSparse                  // what a cached teacher keeps
	needMaps                    // attention probabilities

	needInside = needHidden | needMaps // what only a live teacher can show
)

// build is what losses are made for.
type build struct {
	temperature                 float64
	vocab                       int
	layers, width               int          // of the student
	teacherLayers, teacherWidth int          // 0 where the teacher has no hidden states to show
	most                        int          // tokens that the teacher can name; 0 means all
	sparse                      int          // tokens that a cached teacher has of a position; 0 for teachers that are not
	length                      int          // of sequences
	student, teacher            *model.Graph // nil where the teacher does not run here
	want                        *want
}

// heads returns the number of attention heads of a layer of the student, 0 where it has no attention.
func (b *build) heads(layer int) int { return train.AttentionHeads(b.student, layer) }

// teacherHeads is that of the teacher.
func (b *build) teacherHeads(layer int) int { return train.AttentionHeads(b.teacher, layer) }

var lossKinds = map[string]func() Loss{}

// register makes a loss known under a name; new returns it with its defaults.
func register(name string, new func() Loss) { lossKinds[name] = new }

// LossNames returns the names of all losses, sorted.
func LossNames() []string { return slices.Sorted(maps.Keys(lossKinds)) }

// NewLoss returns the loss of a name with its defaults.
func NewLoss(name string) (Loss, error) {
	n := lossKinds[name]
	if n == nil {
		return nil, fmt.Errorf("no loss %q%s", name, strict.DidYouMean(name, LossNames()))
	}
	return n(), nil
}

// Losses are losses by name.
type Losses map[string]Loss

// DecodeNode reads a mapping from names to weights or settings.
func (l *Losses) DecodeNode(n strict.Node) error {
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	out := Losses{}
	var errs []error
	for _, p := range pairs {
		loss, err := NewLoss(p.Key)
		if err != nil {
			errs = append(errs, p.Unknown(LossNames()))
			continue
		}
		if p.Value.IsMap() {
			errs = append(errs, p.Value.Decode(loss))
		} else {
			errs = append(errs, scalar(p.Value, &loss.term().Weight))
		}
		out[p.Key] = loss
	}
	*l = out
	return strict.Join(errs...)
}

// scalar reads the weight that stands for a loss.
func scalar(n strict.Node, weight *float64) error {
	text, err := n.Text()
	if err != nil {
		return err
	}
	w, err := strict.ParseReal(text)
	if err != nil || w < 0 {
		return n.Errorf(tensor.ErrInvalid, "want the weight of the loss, a number of at least 0, found %s", text)
	}
	*weight = w
	return nil
}

// TypeName tells users what the key takes.
func (Losses) TypeName() string { return "map of losses" }

// JSONSchema is the schema of the key.
func (Losses) JSONSchema() map[string]any {
	props := map[string]any{}
	for _, name := range LossNames() {
		props[name] = map[string]any{"type": []string{"number", "object"}}
	}
	return map[string]any{"type": "object", "properties": props, "additionalProperties": false}
}

// named is a loss with its name.
type named struct {
	name string
	Loss
}

// losses lists the losses in the order of their names: those given, or the one that fits the teacher, nil for none.
func (s *Settings) losses(t Teacher) []named {
	given := s.Losses
	switch {
	case len(given) > 0:
	case t == nil:
		given = Losses{"ce": lossKinds["ce"]()}
	case t.can()&(needLogits|needSparse) != 0:
		given = Losses{"kl": lossKinds["kl"]()}
	default:
		l := lossKinds["topk_kl"]().(*TopKKL)
		l.K = t.most()
		given = Losses{"topk_kl": l}
	}
	var out []named
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if l := given[name]; l.term().Weight > 0 {
			out = append(out, named{name, l})
		}
	}
	return out
}

// drawn returns the losses as the trainer takes them.
func drawn(list []named, b *build) ([]train.Loss, error) {
	var out []train.Loss
	for _, l := range list {
		t, err := l.build(b)
		if err != nil {
			return nil, fmt.Errorf("loss %s: %w", l.name, err)
		}
		t.Name, t.Weight = l.name, l.term().Weight
		out = append(out, t)
	}
	return out, nil
}
