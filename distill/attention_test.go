package distill

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/reference"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
)

// headed is a model of two layers with some number of heads.
func headed(t *testing.T, heads int) *model.Model {
	t.Helper()
	c, err := model.NewConfig("llama", map[string]any{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": heads,
		"num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5})
	if err != nil {
		t.Fatal(err)
	}
	return model.Random(c, uint64(heads))
}

// causal returns random attention probabilities, [rows, heads*length], of one sequence.
func causal(r *rng.Source, heads, length int) []float32 {
	out := make([]float32, length*heads*length)
	for i := range length * heads {
		row, sum := out[i*length:][:i/heads+1], 0.0
		for j := range row {
			row[j] = float32(math.Exp(r.Normal()))
			sum += float64(row[j])
		}
		for j := range row {
			row[j] /= float32(sum)
		}
	}
	return out
}

// slowDistance is the loss as its formula says it, averaged over the rows that count.
func slowDistance(distance string, mean bool, a, b []float32, ha, hb, length int, labels []int32) float64 {
	average := func(p []float32, heads, i, h, j int) float64 {
		if !mean {
			return float64(p[(i*heads+h)*length+j])
		}
		sum := 0.0
		for h := range heads {
			sum += float64(p[(i*heads+h)*length+j])
		}
		return sum / float64(heads)
	}
	heads, total, counted := ha, 0.0, 0.0
	if mean {
		heads = 1
	}
	for i := range length {
		if labels[i] < 0 {
			continue
		}
		counted++
		for h := range heads {
			for j := range i + 1 {
				x, y := average(a, ha, i, h, j), average(b, hb, i, h, j)
				if distance == "mse" {
					total += (y - x) * (y - x) / float64(heads)
				} else {
					total += x * math.Log(x/y) / float64(heads)
				}
			}
		}
	}
	return total / counted
}

// TestAttentionTransfer holds the loss to its formula and its gradient to central differences, for as many heads on both sides and
// for others.
func TestAttentionTransfer(t *testing.T) {
	const length = 7
	labels := []int32{1, 2, -1, 3, 4, 5, 6}
	for _, distance := range []string{"kl", "mse"} {
		for name, c := range map[string]struct {
			student, teacher int
			mean             bool
		}{"each": {4, 4, false}, "mean": {4, 4, true}, "other": {2, 4, false}} {
			r := rng.New(3)
			student, teacher := headed(t, c.student), headed(t, c.teacher)
			b := &build{layers: 2, teacherLayers: 2, length: length, student: student.Graph, teacher: teacher.Graph, want: &want{}}
			l := &Attention{Distance: distance, Mean: c.mean}
			loss, err := l.build(b)
			if err != nil {
				t.Fatal(err)
			}
			mean := c.mean || c.student != c.teacher
			if w := b.want.maps; len(w) != 1 || w[0] != (mapWant{1, mean}) || len(loss.Inputs) != 1 {
				t.Fatalf("%s: asks for %v, takes %v", name, w, loss.Inputs)
			}
			mine, theirs := causal(r, c.student, length), causal(r, c.teacher, length)
			given := theirs
			if mean {
				given = make([]float32, length*length)
				for i := range theirs {
					given[i/length/c.teacher*length+i%length] += theirs[i] / float32(c.teacher)
				}
			}
			run := func(mine []float32) *train.Probed {
				p := &train.Probe{Rows: length, Labels: labels, Maps: map[int][]float32{1: mine},
					Inputs: []train.ProbeData{{Name: loss.Inputs[0].Name, Values: given, Dims: []int{length, loss.Inputs[0].Width}}}}
				out, err := p.Run(loss)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			at := run(mine)
			want := func(mine []float32) float64 {
				return slowDistance(distance, mean, theirs, mine, c.teacher, c.student, length, labels)
			}
			if w := want(mine); !(math.Abs(at.Loss-w) <= 1e-5*w) {
				t.Errorf("%s, %s: %g, the formula says %g", distance, name, at.Loss, w)
			}
			for i := range mine {
				if i%length > i/length/c.student {
					continue // a position that is not seen
				}
				h := mine[i] / 128
				f := func(step float32) float64 {
					was := mine[i]
					defer func() { mine[i] = was }()
					mine[i] += step
					return want(mine)
				}
				slope := (f(h) - f(-h)) / float64(2*h)
				if got := float64(at.Maps[1][i]); !(math.Abs(got-slope) <= 2e-3*math.Abs(slope)+1e-5) {
					t.Fatalf("%s, %s: gradient %d is %g, differences say %g", distance, name, i, got, slope)
				}
			}
		}
	}
}

// TestTeacherAttention holds the probabilities that a live teacher shows to those that follow from the reference executor's queries and
// keys, for every family that has some.
func TestTeacherAttention(t *testing.T) {
	const length = 12
	for _, name := range models.Names() {
		m := models.Model(t, name, 2)
		teacher, err := Live(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		b := &train.Batch{Rows: 2, Length: length}
		for i := range 2 * length {
			b.IDs = append(b.IDs, int32((i*37+i*i)%m.Config.Vocab))
		}
		w := &want{needs: needMaps}
		nodes := map[int]*model.Node{}
		for _, n := range m.Graph.Nodes {
			if n.Op == model.OpAttention {
				nodes[n.Layer] = n
				w.maps = append(w.maps, mapWant{n.Layer, false})
			}
		}
		if m.Graph.Recurrent() || len(nodes) == 0 {
			continue
		}
		if err := teacher.answer(t.Context(), b, w); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for row := range b.Rows {
			trace, err := reference.Run(m.Graph, func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }, b.IDs[row*length:(row+1)*length])
			if err != nil {
				t.Fatal(err)
			}
			for layer, n := range nodes {
				got := b.Inputs[mapWant{layer, false}.name()].([]float32)
				var sinks []float32
				if w := n.Weight(0); w != nil {
					if sinks, err = m.Tensor(w).Float32(); err != nil {
						t.Fatal(err)
					}
				}
				want := probabilities(n.Attn, trace[n.In[0].ID], trace[n.In[1].ID], sinks, length)
				near(t, fmt.Sprintf("%s, layer %d", name, layer), got[row*len(want):][:len(want)], want, 1e-4)
			}
		}
	}
}

// probabilities are those of attention as its definition says them, [length, heads*length], less what sinks take.
func probabilities(a *model.Attention, q, k []float64, sinks []float32, length int) []float32 {
	out := make([]float32, length*a.Heads*length)
	for i := range length {
		for h := range a.Heads {
			e, sum := make([]float64, length), 0.0
			if sinks != nil {
				sum = math.Exp(float64(sinks[h]))
			}
			for j := range i + 1 {
				if a.Window > 0 && i-j >= a.Window {
					continue
				}
				s := 0.0
				for d := range a.HeadDim {
					s += q[(i*a.Heads+h)*a.HeadDim+d] * k[(j*a.KVHeads+h/(a.Heads/a.KVHeads))*a.HeadDim+d]
				}
				if s *= a.Scale; a.Softcap > 0 {
					s = a.Softcap * math.Tanh(s/a.Softcap)
				}
				e[j] = math.Exp(s + a.Alibi.Bias(h, j))
				sum += e[j]
			}
			for j := range e {
				out[(i*a.Heads+h)*length+j] = float32(e[j] / sum)
			}
		}
	}
	return out
}

// TestFollowsAttention: a student comes to look where the teacher looks, with as many heads and with fewer; what cannot be
// mapped says so.
func TestFollowsAttention(t *testing.T) {
	m := headed(t, 4)
	teacher, err := Live(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, heads := range []int{2, 4} {
		student := headed(t, heads)
		if heads == 4 {
			student = model.Random(student.Config, 77)
		}
		s := quick()
		s.Losses = Losses{"attention": &Attention{Term: Term{1}, Distance: "kl", Layers: map[string]int{"0": 1, "1": 1}}}
		_, r := mustRun(t, student, teacher, s, Options{})
		if first, last := r.Points[0].Loss, r.Points[len(r.Points)-1].Loss; !(last < 0.5*first) {
			t.Errorf("%d heads: the distance went from %g to %g", heads, first, last)
		}
	}
	for text, change := range map[string]func(s *Settings){
		"no layer of the student": func(s *Settings) { s.Losses["attention"].(*Attention).Layers = map[string]int{"2": 0} },
		"no layer of the teacher": func(s *Settings) { s.Losses["attention"].(*Attention).Layers = map[string]int{"0": 5} },
		"choose one":              func(s *Settings) { s.GradientCheckpointing = true },
		"cannot tell":             func(s *Settings) { s.TeacherCache = &Sparse{} },
	} {
		s := quick()
		s.Losses = Losses{"attention": &Attention{Term: Term{1}, Distance: "kl"}}
		change(&s)
		if _, _, err := Run(t.Context(), m, teacher, Text{IDs: make([]int32, 500), BOS: -1}, s, Options{}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
