package distill

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model/safetensors"
)

// golden holds the reference values: losses and gradients of torch in float64. See testdata/README.md.
type golden struct {
	t                       *testing.T
	inputs, grads, hidden   *safetensors.File
	student, teacher        []float32
	labels                  []int32 // negative where the mask is 0
	rows, vocab             int
	Losses                  map[string]struct{ Float64 float64 }
	HardPerRow              map[string][]float64 `json:"hard_per_row"`
	hardStudent, hardTeacer []float32
}

func openGolden(t *testing.T) *golden {
	t.Helper()
	g := &golden{t: t, rows: 68, vocab: 100}
	data, err := os.ReadFile("testdata/values.json")
	if err == nil {
		err = json.Unmarshal(data, g)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]**safetensors.File{"inputs": &g.inputs, "grads": &g.grads, "hidden": &g.hidden} {
		if *f, err = safetensors.Open("testdata/" + name + ".safetensors"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*f).Close() })
	}
	g.student, g.teacher = g.floats(g.inputs, "student_logits"), g.floats(g.inputs, "teacher_logits")
	g.hardStudent, g.hardTeacer = g.floats(g.inputs, "hard.student_logits"), g.floats(g.inputs, "hard.teacher_logits")
	for i, b := range g.raw(g.inputs, "labels") {
		if i%4 == 0 {
			g.labels = append(g.labels, 0)
		}
		g.labels[i/4] |= int32(b) << (8 * (i % 4))
	}
	for i, m := range g.raw(g.inputs, "mask") {
		if (m == 0) != (g.labels[i] < 0) {
			t.Fatalf("row %d: mask %d, label %d", i, m, g.labels[i])
		}
	}
	return g
}

func (g *golden) raw(f *safetensors.File, name string) []byte {
	g.t.Helper()
	x, ok := f.Tensor(name)
	if !ok {
		g.t.Fatalf("no tensor %q", name)
	}
	data := make([]byte, x.Bytes())
	if err := x.Src.ReadRows(data, 0, x.Rows()); err != nil {
		g.t.Fatal(err)
	}
	return data
}

func (g *golden) floats(f *safetensors.File, name string) []float32 {
	raw := g.raw(f, name)
	out := make([]float32, len(raw)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}

// near demands that two arrays are the same within a share of the largest value of the second.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	var size, worst float64
	for _, v := range want {
		size = max(size, math.Abs(float64(v)))
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		worst = max(worst, math.Abs(float64(got[i])-float64(want[i])))
	}
	if !(worst <= tolerance*size) {
		t.Errorf("%s is off by %.2g of %.2g", what, worst, size)
	}
}

// probe computes a loss between rows of logits of teacher and student.
func probe(t *testing.T, l Loss, temperature float64, student, teacher []float32, labels []int32) *train.Probed {
	t.Helper()
	b := &build{temperature: temperature, vocab: len(student) / len(labels), want: &want{}}
	loss, err := l.build(b)
	if err != nil {
		t.Fatal(err)
	}
	rows := len(labels)
	batch := &train.Batch{Inputs: map[string]any{teacherLogits: teacher}}
	tops := newTops(batch, b.want, rows)
	for i := range rows {
		tops.row(i, teacher[i*b.vocab:(i+1)*b.vocab])
	}
	p := &train.Probe{Rows: rows, Logits: student, Labels: labels}
	for _, in := range loss.Inputs {
		dims := []int{rows, in.Width}
		if in.Width == 0 {
			dims = dims[:1]
		}
		p.Inputs = append(p.Inputs, train.ProbeData{Name: in.Name, Values: batch.Inputs[in.Name], Dims: dims})
	}
	r, err := p.Run(loss)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// goldenLosses are the losses between logits that there are references for.
var goldenLosses = map[string]struct {
	loss        Loss
	temperature float64
}{
	"cross_entropy":      {&CE{}, 1},
	"forward_kl_T1":      {&KL{}, 1},
	"forward_kl_T2":      {&KL{}, 2},
	"reverse_kl_T1":      {&ReverseKL{}, 1},
	"reverse_kl_T2":      {&ReverseKL{Soft{Temperature: 2}}, 7}, // its own temperature goes before the stage's
	"jsd_beta0.5_T1":     {&JSD{Beta: 0.5}, 1},
	"jsd_beta0.5_T2":     {&JSD{Beta: 0.5}, 2},
	"jsd_beta0.1_T1":     {&JSD{Beta: 0.1}, 1},
	"jsd_beta0.9_T1":     {&JSD{Beta: 0.9}, 1},
	"topk8_tail_kl_T1":   {&TopKKL{K: 8, Tail: "fold"}, 1},
	"topk8_tail_kl_T2":   {&TopKKL{K: 8, Tail: "fold"}, 2},
	"topk8_renorm_kl_T1": {&TopKKL{K: 8, Tail: "drop"}, 1},
}

func TestGolden(t *testing.T) {
	g := openGolden(t)
	for name := range g.Losses {
		if _, known := goldenLosses[name]; !known && !strings.HasPrefix(name, "hidden") && !strings.HasPrefix(name, "mix") {
			t.Errorf("the reference %s is not looked at", name)
		}
	}
	for name, c := range goldenLosses {
		r := probe(t, c.loss, c.temperature, g.student, g.teacher, g.labels)
		if want := g.Losses[name].Float64; !(math.Abs(r.Loss-want) <= 1e-5*want) {
			t.Errorf("%s is %.9g, want %.9g", name, r.Loss, want)
		}
		near(t, name+": gradient", r.Logits, g.floats(g.grads, "grad_student."+name), 1e-5)
		for i, x := range g.labels {
			for _, v := range r.Logits[i*g.vocab : (i+1)*g.vocab] {
				if x < 0 && v != 0 {
					t.Fatalf("%s: a row that does not count has the gradient %g", name, v)
				}
			}
		}
	}
}

// TestGoldenMix is a sum of losses as the trainer makes it: weights times gradients.
func TestGoldenMix(t *testing.T) {
	g := openGolden(t)
	ce := probe(t, &CE{}, 1, g.student, g.teacher, g.labels)
	kl := probe(t, &KL{}, 2, g.student, g.teacher, g.labels)
	name := "mix_0.3ce_0.7fkl_T2"
	if got, want := 0.3*ce.Loss+0.7*kl.Loss, g.Losses[name].Float64; math.Abs(got-want) > 1e-5*want {
		t.Errorf("%s is %g, want %g", name, got, want)
	}
	sum := make([]float32, len(ce.Logits))
	for i := range sum {
		sum[i] = 0.3*ce.Logits[i] + 0.7*kl.Logits[i]
	}
	near(t, name, sum, g.floats(g.grads, "grad_student."+name), 1e-5)
}

// TestGoldenHard has logits up to 1e4, equal rows and a uniform row.
func TestGoldenHard(t *testing.T) {
	g := openGolden(t)
	for name, l := range map[string]Loss{"forward_kl_T1": &KL{}, "reverse_kl_T1": &ReverseKL{}, "jsd_beta0.5_T1": &JSD{Beta: 0.5}} {
		rows := len(g.HardPerRow[name])
		labels := make([]int32, rows)
		r := probe(t, l, 1, g.hardStudent, g.hardTeacer, labels)
		for i, want := range g.HardPerRow[name] {
			if got := float64(r.Rows[i]); !(math.Abs(got-want) <= 1e-5*math.Abs(want)+1e-7) {
				t.Errorf("%s, row %d: %g, want %g", name, i, got, want)
			}
		}
		grad := g.floats(g.grads, "hard.grad_student."+name) // of the sum over rows
		for i := range r.Logits {
			r.Logits[i] *= float32(rows)
		}
		near(t, name+": gradient of hard rows", r.Logits, grad, 1e-5)
	}
}

func TestGoldenHidden(t *testing.T) {
	g := openGolden(t)
	for name, c := range map[string]struct {
		teacher  string
		distance string
	}{"hidden_mse": {"hidden_teacher_same_width", "mse"}, "hidden_cosine": {"hidden_teacher_same_width", "cosine"},
		"hidden_mse_projected": {"hidden_teacher_wide", "mse"}} {
		teacher := g.floats(g.hidden, c.teacher)
		b := &build{layers: 1, width: 24, teacherLayers: 1, teacherWidth: len(teacher) / g.rows, want: &want{}}
		loss, err := (&Hidden{Distance: c.distance}).build(b)
		if err != nil {
			t.Fatal(err)
		}
		p := &train.Probe{Rows: g.rows, Labels: g.labels, Hidden: map[int][]float32{1: g.floats(g.hidden, "hidden_student")},
			Inputs: []train.ProbeData{{Name: hiddenName(1), Values: teacher, Dims: []int{g.rows, b.teacherWidth}}}}
		if len(loss.Params) > 0 {
			p.Params = []train.ProbeData{{Name: loss.Params[0].Name, Values: g.floats(g.hidden, "projection"), Dims: []int{b.teacherWidth, 24}}}
		}
		r, err := p.Run(loss)
		if err != nil {
			t.Fatal(err)
		}
		if want := g.Losses[name].Float64; math.Abs(r.Loss-want) > 1e-5*want {
			t.Errorf("%s is %g, want %g", name, r.Loss, want)
		}
		near(t, name, r.Hidden[1], g.floats(g.hidden, "grad_student."+name), 1e-5)
		if len(loss.Params) > 0 {
			near(t, name+": projection", r.Params[loss.Params[0].Name], g.floats(g.hidden, "grad_projection."+name), 1e-5)
		}
	}
}

// TestFiniteDifferences holds every loss between logits to central differences along random directions.
func TestFiniteDifferences(t *testing.T) {
	const rows, vocab = 5, 60
	r := rng.New(9)
	draw := func(scale float64) []float32 {
		v := make([]float32, rows*vocab)
		for i := range v {
			v[i] = float32(scale * r.Normal())
		}
		return v
	}
	student, teacher, labels := draw(2), draw(2), []int32{3, 5, -1, 7, 59}
	for _, name := range LossNames() {
		l, err := NewLoss(name)
		if err != nil {
			t.Fatal(err)
		}
		if l.needs()&^(needLogits|needTop) != 0 || name == "tvd" {
			continue // looks at more than logits; has kinks, see below
		}
		if k, ok := l.(*TopKKL); ok {
			k.K = 9
		}
		for _, temperature := range []float64{1, 1.7} {
			at := probe(t, l, temperature, student, teacher, labels)
			direction := draw(1)
			const h = 1e-2
			move := func(f float32) float64 {
				x := make([]float32, len(student))
				for i := range x {
					x[i] = student[i] + f*direction[i]
				}
				return probe(t, l, temperature, x, teacher, labels).Loss
			}
			slope := (8*(move(h)-move(-h)) - (move(2*h) - move(-2*h))) / (12 * h) // of fourth order
			var want, size float64
			for i := range direction {
				want += float64(at.Logits[i]) * float64(direction[i])
				size += float64(at.Logits[i]) * float64(at.Logits[i])
			}
			if size = math.Sqrt(size); !(math.Abs(slope-want) <= 2e-3*size+1e-5) {
				t.Errorf("%s at %g: slope %g, gradient says %g", name, temperature, slope, want)
			}
			if size == 0 {
				t.Errorf("%s at %g has no gradient", name, temperature)
			}
			zero := probe(t, l, temperature, teacher, teacher, labels)
			if _, ce := l.(*CE); !ce && !(math.Abs(zero.Loss) < 1e-5) {
				t.Errorf("%s of the teacher with itself is %g", name, zero.Loss)
			}
		}
	}
}

// TestTVD compares with the closed form, whose gradient is T/2 * q (s - sum q s) / T with s the sign of q - p.
func TestTVD(t *testing.T) {
	g := openGolden(t)
	for _, temperature := range []float64{1, 2} {
		r := probe(t, &TVD{}, temperature, g.student, g.teacher, g.labels)
		n, loss := 0.0, 0.0
		want := make([]float32, len(g.student))
		for _, x := range g.labels {
			if x >= 0 {
				n++
			}
		}
		for i, x := range g.labels {
			if x < 0 {
				continue
			}
			lo, hi := i*g.vocab, (i+1)*g.vocab
			p, q := softmax(g.teacher[lo:hi], temperature), softmax(g.student[lo:hi], temperature)
			mean := 0.0
			for k := range p {
				loss += temperature / 2 * math.Abs(q[k]-p[k]) / n
				mean += q[k] * sign(q[k]-p[k])
			}
			for k := range p {
				want[lo+k] = float32(q[k] * (sign(q[k]-p[k]) - mean) / 2 / n)
			}
		}
		if math.Abs(r.Loss-loss) > 1e-5*loss {
			t.Errorf("TVD at %g is %g, want %g", temperature, r.Loss, loss)
		}
		near(t, "TVD gradient", r.Logits, want, 1e-5)
	}
}

func sign(x float64) float64 { return math.Copysign(1, x) }

func softmax(z []float32, temperature float64) []float64 {
	p, sum := make([]float64, len(z)), 0.0
	for i, v := range z {
		p[i] = math.Exp(float64(v) / temperature)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

func TestLargest(t *testing.T) {
	v := []float32{1, 5, 3, 5, -2, 4, 5}
	for k, want := range map[int]string{1: "[1]", 3: "[1 3 6]", 4: "[1 3 6 5]", 7: "[1 3 6 5 2 0 4]"} {
		if got := fmt.Sprint(largest(nil, v, k)); got != want {
			t.Errorf("the %d largest are %s, want %s", k, got, want)
		}
	}
}
