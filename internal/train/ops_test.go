package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

const (
	f32 = dtypes.Float32
	f64 = dtypes.Float64
	i32 = dtypes.Int32
)

// sizes returns random dimensions.
func sizes(r *rand.Rand, rank int) []int {
	d := make([]int, rank)
	for i := range d {
		d[i] = 1 + r.IntN(9)
	}
	return d
}

// TestElementwiseOps compares every elementwise operation, for all types and random shapes.
func TestElementwiseOps(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	floatOps := map[string]func(x *Node) *Node{
		"Abs": Abs, "Neg": Neg, "Sign": Sign, "Exp": Exp, "Expm1": Expm1, "Sin": Sin, "Cos": Cos, "Tanh": Tanh, "Erf": Erf,
		"Logistic": Logistic, "Floor": Floor, "Ceil": Ceil, "Round": Round, "IsFinite": IsFinite, "IsNaN": IsNaN,
		"Log":     func(x *Node) *Node { return Log(Abs(x)) },
		"Log1p":   func(x *Node) *Node { return Log1p(Abs(x)) },
		"Sqrt":    func(x *Node) *Node { return Sqrt(Abs(x)) },
		"Rsqrt":   func(x *Node) *Node { return Rsqrt(Abs(x)) },
		"Bad log": Log,
	}
	for name, op := range floatOps {
		for _, d := range []dtypes.DType{f32, f64} {
			t.Run(fmt.Sprint(name, d), func(t *testing.T) {
				agree(t, 1e-6, func(_ *Graph, in []*Node) []*Node { return []*Node{op(in[0])} }, random(r, d, sizes(r, r.IntN(4))...))
			})
		}
	}
	intOps := map[string]func(x *Node) *Node{"Abs": Abs, "Neg": Neg, "Sign": Sign, "BitwiseNot": BitwiseNot, "BitCount": BitCount, "Clz": Clz}
	for name, op := range intOps {
		for _, d := range []dtypes.DType{i32, dtypes.Int64} {
			t.Run(fmt.Sprint(name, d), func(t *testing.T) {
				agree(t, 0, func(_ *Graph, in []*Node) []*Node { return []*Node{op(AddScalar(in[0], -3))} }, random(r, d, sizes(r, 2)...))
			})
		}
	}
}

// TestBinaryOps compares operations of two operands, with scalars and dimensions of one repeated.
func TestBinaryOps(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	all := map[string]func(x, y *Node) *Node{
		"Add": Add, "Sub": Sub, "Mul": Mul, "Div": Div, "Max": Max, "Min": Min, "Mod": Mod,
		"Equal": Equal, "NotEqual": NotEqual, "LessThan": LessThan, "LessOrEqual": LessOrEqual, "GreaterThan": GreaterThan,
		"GreaterOrEqual": GreaterOrEqual,
	}
	for name, op := range all {
		for _, d := range []dtypes.DType{f32, f64, i32, dtypes.Int64, dtypes.Uint8, dtypes.Uint32} {
			t.Run(fmt.Sprint(name, d), func(t *testing.T) {
				dims := sizes(r, 3)
				part := append([]int{}, dims...)
				part[r.IntN(3)] = 1
				agree(t, 1e-6, func(_ *Graph, in []*Node) []*Node {
					return []*Node{op(in[0], in[1]), op(in[0], in[2]), op(in[2], in[0]), op(in[0], in[3]), op(in[3], in[0])}
				}, random(r, d, dims...), random(r, d, dims...), random(r, d, part...), random(r, d))
			})
		}
	}
	for _, d := range []dtypes.DType{f32, f64} {
		t.Run(fmt.Sprint("Pow", d), func(t *testing.T) {
			agree(t, 1e-6, func(_ *Graph, in []*Node) []*Node {
				x := Abs(in[0])
				return []*Node{Pow(x, in[1]), Square(x), PowScalar(x, 3.0), PowScalar(x, -1.0), PowScalar(x, 0.5), Atan2(in[0], in[1])}
			}, random(r, d, 4, 5), random(r, d, 4, 5))
		})
	}
	bits := map[string]func(x, y *Node) *Node{"And": BitwiseAnd, "Or": BitwiseOr, "Xor": BitwiseXor, "Pow": Pow}
	for name, op := range bits {
		t.Run(name, func(t *testing.T) {
			agree(t, 0, func(_ *Graph, in []*Node) []*Node { return []*Node{op(in[0], in[1])} }, random(r, i32, 5, 7), random(r, i32, 5, 7))
		})
	}
	t.Run("Logical", func(t *testing.T) {
		agree(t, 0, func(_ *Graph, in []*Node) []*Node {
			return []*Node{LogicalAnd(in[0], in[1]), LogicalOr(in[0], in[1]), LogicalXor(in[0], in[1]), LogicalNot(in[0]),
				ConvertDType(in[0], f32), ConvertDType(in[0], i32)}
		}, random(r, dtypes.Bool, 5, 7), random(r, dtypes.Bool, 5, 7))
	})
	t.Run("Where", func(t *testing.T) {
		agree(t, 0, func(g *Graph, in []*Node) []*Node {
			return []*Node{Where(in[0], in[1], in[2]), Where(in[0], in[1], Scalar(g, f32, 0)), Where(in[0], Scalar(g, f32, 1), in[2]),
				Clip(in[1], Scalar(g, f32, -0.5), Scalar(g, f32, 0.5))}
		}, random(r, dtypes.Bool, 5, 7), random(r, f32, 5, 7), random(r, f32, 5, 7))
	})
}

// TestMovingOps compares operations that move values.
func TestMovingOps(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for _, d := range []dtypes.DType{f32, i32, dtypes.Bool} {
		x := random(r, d, 3, 4, 5)
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			agree(t, 0, func(g *Graph, in []*Node) []*Node {
				x := in[0]
				return []*Node{
					TransposeAllAxes(x, 2, 0, 1), TransposeAllAxes(x, 1, 0, 2), Reshape(x, 12, 5), Reshape(TransposeAllAxes(x, 2, 0, 1), 15, 4),
					ExpandAndBroadcast(x, []int{2, 3, 4, 5}, []int{0}), ExpandAndBroadcast(x, []int{3, 4, 5, 2}, []int{3}),
					Slice(x, AxisRange(1), AxisRange(0, 3).Stride(2), AxisRange(2, 4)), Concatenate([]*Node{x, x}, 1),
					Reverse(x, 0, 2), Iota(g, shapes.Make(i32, 3, 4), 1), Iota(g, shapes.Make(f32, 3, 4), 0),
				}
			}, x)
		})
	}
	t.Run("Pad", func(t *testing.T) {
		agree(t, 0, func(g *Graph, in []*Node) []*Node {
			return []*Node{
				Pad(in[0], Scalar(g, f32, 2), compute.PadAxis{Start: 1, End: 2}, compute.PadAxis{Interior: 2}),
			}
		}, random(r, f32, 4, 5))
	})
	t.Run("Bitcast", func(t *testing.T) {
		agree(t, 0, func(_ *Graph, in []*Node) []*Node {
			return []*Node{Bitcast(in[0], dtypes.Uint32), Bitcast(Bitcast(in[0], i32), f32)}
		}, random(r, f32, 5, 6))
	})
}

// TestReductions compares reductions over every set of dimensions.
func TestReductions(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	for _, d := range []dtypes.DType{f32, f64, i32} {
		for set := 1; set < 16; set++ {
			t.Run(fmt.Sprint(d, set), func(t *testing.T) {
				var axes []int
				for i := range 4 {
					if set>>i&1 == 1 {
						axes = append(axes, i)
					}
				}
				agree(t, 2e-5, func(_ *Graph, in []*Node) []*Node {
					x := in[0]
					return []*Node{ReduceSum(x, axes...), ReduceMax(x, axes...), ReduceMin(x, axes...), ReduceMultiply(x, axes...),
						ReduceSum(Mul(x, x), axes...), ArgMax(x, axes[0]), ArgMin(x, axes[0])}
				}, random(r, d, sizes(r, 4)...))
			})
		}
	}
	t.Run("Logical", func(t *testing.T) {
		agree(t, 0, func(_ *Graph, in []*Node) []*Node {
			return []*Node{ReduceLogicalAnd(in[0], 0), ReduceLogicalOr(in[0], 1), ReduceBitwiseXor(in[1], 1), ReduceBitwiseAnd(in[1], 0)}
		}, random(r, dtypes.Bool, 5, 6), random(r, i32, 5, 6))
	})
	t.Run("Large", func(t *testing.T) { // more than one tile and one chunk
		agree(t, 2e-4, func(_ *Graph, in []*Node) []*Node {
			x := in[0]
			return []*Node{ReduceSum(x, 0), ReduceSum(x, 1), ReduceAllSum(Mul(x, x)), ReduceMax(x, 1), Softmax(x, -1), LogSoftmax(x, -1)}
		}, random(r, f32, 700, 301))
	})
}

// TestDotGeneral compares products for random choices of dimensions, and their gradients.
func TestDotGeneral(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	for i := range 60 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			shared := sizes(r, 1+r.IntN(3))
			nb := r.IntN(len(shared)) // the first are batch dimensions
			a := append(append([]int{}, shared...), sizes(r, r.IntN(3))...)
			b := append(append([]int{}, shared...), sizes(r, r.IntN(3))...)
			shuffle := func(dims []int) (out []int, batch, contract []int) {
				place := make([]int, len(dims))
				out = make([]int, len(dims))
				for to, from := range r.Perm(len(dims)) {
					out[to], place[from] = dims[from], to
				}
				return out, place[:nb], place[nb:len(shared)]
			}
			ad, ab, ac := shuffle(a)
			bd, bb, bc := shuffle(b)
			for _, d := range []dtypes.DType{f32, f64} {
				agree(t, 2e-5, func(_ *Graph, in []*Node) []*Node {
					y := DotGeneral(in[0], ac, ab, in[1], bc, bb)
					loss := ReduceAllSum(Mul(y, Tanh(y)))
					// GoMLX v0.28 differentiates neither products without free dimensions nor some that sum over several.
					if len(a) == len(shared) || len(b) == len(shared) || len(ac) > 1 {
						return []*Node{y}
					}
					return append([]*Node{y}, Gradient(loss, in[0], in[1])...)
				}, random(r, d, ad...), random(r, d, bd...))
			}
		})
	}
}

// TestIndexing compares gathers and scatters as GoMLX's helpers make them.
func TestIndexing(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	table, ids := random(r, f32, 9, 5), random(r, i32, 4, 3, 1)
	agree(t, 1e-6, func(g *Graph, in []*Node) []*Node {
		x := Gather(in[0], in[1])
		loss := ReduceAllSum(Mul(x, Sin(x)))
		return append([]*Node{x, GatherSlices(in[0], []int{0, 1}, in[2], []int{2, 3}, false),
			ScatterSum(in[0], in[1], x, false, false), ScatterMax(in[0], in[1], MulScalar(x, 2), false, false), ScatterMin(in[0], in[1], MulScalar(x, 2), false, false), Scatter(in[1], x, shapes.Make(f32, 9, 5), false, false),
			OneHot(Reshape(in[1], 4, 3), 9, f32)}, Gradient(loss, in[0])...)
	}, table, ids, tensors.FromValue([][]int32{{0, 1}, {7, 2}, {3, 0}}))
	agree(t, 1e-6, func(_ *Graph, in []*Node) []*Node { return []*Node{Gather(in[0], in[1])} }, random(r, f32, 9, 5, 2), random(r, i32, 6, 2))
}

// TestRandomBits demands the same bits as the reference, and a state that moves on.
func TestRandomBits(t *testing.T) {
	state, err := RNGStateFromSeed(42)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, 0, func(_ *Graph, in []*Node) []*Node {
		next, u := RandomUniform(in[0], shapes.Make(f32, 50))
		next, v := RandomUniform(next, shapes.Make(f64, 50))
		next, n := RandomNormal(next, shapes.Make(f32, 1))
		_ = n
		next, k := RandomIntN(next, 17, shapes.Make(i32, 30))
		return []*Node{Slice(next, AxisRange(0, 2)), u, v, k} // the reference leaves the third word of the state to chance
	}, state)
}

// TestUnreferencedOps checks against values by hand what GoMLX's Go backend does not have or gets wrong.
func TestUnreferencedOps(t *testing.T) {
	nan := float32(math.NaN())
	x := tensors.FromValue([]float32{-1, 0, float32(math.Copysign(0, -1)), 2, nan})
	y := tensors.FromValue([]float32{-1, float32(math.Copysign(0, -1)), 0, nan, nan})
	m := tensors.FromValue([][]float32{{1, 2, 3}, {4, 5, 6}})
	at := tensors.FromValue([]int32{1, 2})
	got, err := evaluate(newBackend(1), func(g *Graph, in []*Node) []*Node {
		x, y, m := in[0], in[1], in[2]
		at := []*Node{Reshape(SliceAxis(in[3], 0, AxisElem(0))), Reshape(SliceAxis(in[3], 0, AxisElem(1)))}
		return []*Node{
			EqualTotalOrder(x, y), LessThanTotalOrder(x, y), GreaterOrEqualTotalOrder(x, y), NotEqualTotalOrder(x, y),
			LessOrEqualTotalOrder(x, y), GreaterThanTotalOrder(x, y),
			Pad(m, Scalar(g, f32, 9), compute.PadAxis{Start: -1, End: 1}, compute.PadAxis{Start: 1, End: -2}),
			DynamicSlice(m, at, []int{2, 2}), DynamicUpdateSlice(m, Const(g, [][]float32{{0}}), at),
		}
	}, []*tensors.Tensor{x, y, m, at})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []any{
		[]bool{true, false, false, false, true}, []bool{false, false, true, true, false}, []bool{true, true, false, false, true},
		[]bool{false, true, true, true, false}, []bool{true, false, true, true, true}, []bool{false, true, false, false, false}, [][]float32{{9, 4}, {9, 9}}, [][]float32{{2, 3}, {5, 6}}, [][]float32{{1, 2, 3}, {4, 5, 0}},
	} {
		near(t, fmt.Sprintf("case %d", i), got[i], tensors.MustFromAnyValue(want), 0)
	}
}
