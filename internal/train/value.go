package train

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/model"
)

const (
	f32Type = dtypes.Float32
	i32Type = dtypes.Int32
)

// Value is an array in a loss that is being drawn: numbers that will be known when the graph runs. Losses are written as
// formulas in values, and differentiated. A value is a matrix [rows, n], a column of one number for each row [rows], or a
// single number. Operations of two values repeat a column along the rows of a matrix, and a single number everywhere.
// Shapes that do not fit panic with an error, which the trainer returns.
type Value struct{ n *Node }

// both brings two operands to one shape.
func both(a, b Value) (*Node, *Node) {
	x, y := a.n, b.n
	switch {
	case x.Rank() == y.Rank()+1 && y.Rank() > 0:
		y = along(y, x)
	case y.Rank() == x.Rank()+1 && x.Rank() > 0:
		x = along(x, y)
	}
	return x, y
}

func pair(f func(x, y *Node) *Node, a, b Value) Value {
	x, y := both(a, b)
	return Value{f(x, y)}
}

// Add returns v + w.
func (v Value) Add(w Value) Value { return pair(Add, v, w) }

// Sub returns v - w.
func (v Value) Sub(w Value) Value { return pair(Sub, v, w) }

// Mul returns v * w.
func (v Value) Mul(w Value) Value { return pair(Mul, v, w) }

// Div returns v / w.
func (v Value) Div(w Value) Value { return pair(Div, v, w) }

// Max returns the larger of both.
func (v Value) Max(w Value) Value { return pair(Max, v, w) }

// Scale returns c * v.
func (v Value) Scale(c float64) Value {
	if c == 1 {
		return v
	}
	return Value{MulScalar(v.n, c)}
}

// Plus returns v + c.
func (v Value) Plus(c float64) Value { return Value{AddScalar(v.n, c)} }

// Exp returns e^v.
func (v Value) Exp() Value { return Value{Exp(v.n)} }

// Log returns the natural logarithm.
func (v Value) Log() Value { return Value{Log(v.n)} }

// Abs returns |v|.
func (v Value) Abs() Value { return Value{Abs(v.n)} }

// Sqrt returns the square root.
func (v Value) Sqrt() Value { return Value{Sqrt(v.n)} }

// Softplus returns log(1 + e^v) without overflow.
func (v Value) Softplus() Value { return Value{act(v.n, model.Softplus)} }

// Stop returns v as a constant: no gradient passes.
func (v Value) Stop() Value { return Value{StopGradient(v.n)} }

// Sum adds up each row of a matrix.
func (v Value) Sum() Value { return Value{ReduceSum(v.n, v.n.Rank()-1)} }

// Mean averages each row of a matrix.
func (v Value) Mean() Value { return v.Sum().Scale(1 / float64(v.Width())) }

// MeanGroups averages n groups of columns that lie side by side: [rows, n*w] becomes [rows, w].
func (v Value) MeanGroups(n int) Value {
	d := v.n.Shape().Dimensions
	return Value{ReduceSum(Reshape(v.n, d[0], n, d[1]/n), 1)}.Scale(1 / float64(n))
}

// Width returns the number of columns.
func (v Value) Width() int { return v.n.Shape().Dimensions[v.n.Rank()-1] }

// LogSoftmax returns the log-probabilities of rows of logits.
func (v Value) LogSoftmax() Value { return Value{logSoftmax(v.n)} }

// LogSumExp returns log of the sum of e^v of each row.
func (v Value) LogSumExp() Value {
	top := StopGradient(ReduceMax(v.n, v.n.Rank()-1))
	return Value{Add(Log(ReduceSum(Exp(Sub(v.n, along(top, v.n))), v.n.Rank()-1)), top)}
}

// Pick returns the logits of each row that indices [rows, n] name, and the log of the sum of exponentials of all others.
// An index that is not a column names nothing, gives 0 and takes nothing from the others.
func (v Value) Pick(indices Value) (kept, rest Value) {
	i := indices.n
	if i.Rank() == 1 {
		i = Reshape(i, i.Shape().Dimensions[0], 1)
	}
	a, b := pick(v.n, i)
	if indices.n.Rank() == 1 {
		a = Reshape(a, a.Shape().Dimensions[0])
	}
	return Value{a}, Value{b}
}

// Times returns the matrix product v·wᵀ of rows with a weight [out, in].
func (v Value) Times(w Value) Value { return Value{linear(v.n, w.n, nil)} }

// logSoftmax is x - log(sum(exp(x))) along the last dimension, with the gradient dy - softmax * sum(dy).
func logSoftmax(x *Node) *Node {
	last := x.Rank() - 1
	gradient := &composite{name: "logsoftmax'", forward: func(in []*Node) []*Node {
		y, dy := in[0], in[1]
		return []*Node{Sub(dy, Mul(Exp(y), along(ReduceSum(dy, last), y)))}
	}}
	c := &composite{name: "logsoftmax", forward: func(in []*Node) []*Node {
		top := StopGradient(ReduceMax(in[0], last))
		shifted := Sub(in[0], along(top, in[0]))
		return []*Node{Sub(shifted, along(Log(ReduceSum(Exp(shifted), last)), shifted))}
	}}
	c.vjp = func(_, out, dOut []*Node) []*Node { return gradient.apply(out[0], dOut[0]) }
	return c.apply(x)[0]
}

// Loss is one term of what training makes small: a number for each row, averaged over the rows that count.
type Loss struct {
	Name   string
	Weight float64
	// Whole says that the loss looks at more than logits and is drawn once for all rows. Others are drawn for some rows at a
	// time, so that logits never stand in memory as a whole.
	Whole bool
	// Draw returns the loss of each row, [rows].
	Draw func(t *Tape) Value
	// Inputs and Params are what the loss takes besides the student: arrays that come with every batch, and parameters
	// that are trained along.
	Inputs []Input
	Params []Param
}

// Input is an array that comes with each batch: Width numbers for each row.
type Input struct {
	Name  string
	Width int  // 0: one number, of shape [rows]
	Int   bool // int32 instead of float32
}

// Param is an extra matrix that is trained along with the model, such as a projection between widths.
type Param struct {
	Name      string
	Out, In   int
	Deviation float64 // of its initial normal values
}

// Tape is what a loss is drawn on.
type Tape struct {
	rows   [2]int // part of the batch's rows that is drawn
	logits *Node
	labels *Node
	inputs map[string]*Node
	params map[string]*Node
	whole  *whole        // for losses that look at everything
	states map[int]*Node // hidden states that are given instead of the student's
	maps   map[int]*Node // and attention probabilities
}

// Logits returns the student's logits, [rows, vocabulary].
func (t *Tape) Logits() Value {
	if t.logits == nil {
		panic(fmt.Errorf("a loss that looks at the whole batch has no logits"))
	}
	return Value{t.logits}
}

// Labels returns the token that should follow each row, int32 [rows]; negative where none is known.
func (t *Tape) Labels() Value { return Value{t.labels} }

// Input returns the rows of an array that came with the batch.
func (t *Tape) Input(name string) Value {
	n := t.inputs[name]
	if n == nil {
		panic(fmt.Errorf("no input %q was declared", name))
	}
	return Value{n}
}

// Param returns an extra parameter, [out, in].
func (t *Tape) Param(name string) Value {
	n := t.params[name]
	if n == nil {
		panic(fmt.Errorf("no parameter %q was declared", name))
	}
	return Value{n}
}

// Hidden returns the residual stream that enters a layer, or with the number of layers the one that leaves the last,
// [rows, width].
func (t *Tape) Hidden(layer int) Value {
	if n := t.states[layer]; n != nil {
		return Value{n}
	}
	w := t.mustWhole("hidden states")
	if layer < 0 || layer >= len(w.model.Entry) {
		panic(fmt.Errorf("hidden state %d: the student has 0 to %d", layer, len(w.model.Entry)-1))
	}
	return Value{rowsOf(w.values[w.model.Entry[layer]])}
}

// Attention returns the attention probabilities of a layer: for each row and head the weights of all positions,
// [rows, heads*length].
func (t *Tape) Attention(layer int) Value {
	if n := t.maps[layer]; n != nil {
		return Value{n}
	}
	w := t.mustWhole("attention maps")
	if n := attentionOf(w.model, layer); n != nil {
		return Value{w.attention(n)}
	}
	panic(fmt.Errorf("layer %d of the student has no attention", layer))
}

func (t *Tape) mustWhole(what string) *whole {
	if t.whole == nil {
		panic(fmt.Errorf("a loss that looks at %s must say that it looks at the whole batch", what))
	}
	return t.whole
}

// whole is the drawing of the student.
type whole struct {
	model *model.Graph
	*drawing
}

// rowsOf makes [batch, length, width] a matrix of rows.
func rowsOf(x *Node) *Node {
	d := x.Shape().Dimensions
	return Reshape(x, d[0]*d[1], d[2])
}

// attention returns the probabilities of an attention node, computed apart from the model's own.
func (w *whole) attention(n *model.Node) *Node {
	q, k := w.values[n.In[0]], w.values[n.In[1]]
	d := q.Shape().Dimensions
	p := probabilities(q, k, w.opt(n, 0), n.Attn, alibi(n.Attn, d[1])) // [batch, kv heads, query, group, key]
	return Reshape(TransposeAllAxes(p, 0, 2, 1, 3, 4), d[0]*d[1], n.Attn.Heads*d[1])
}
