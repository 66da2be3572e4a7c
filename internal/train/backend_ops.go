package train

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapeinference"
	"github.com/gomlx/compute/shapes"

	"github.com/parelm/pare/internal/train/cpu"
)

// Elementwise operations by their name in package cpu.
var unaryNames = map[compute.OpType]string{
	compute.OpTypeAbs: "abs", compute.OpTypeNeg: "neg", compute.OpTypeSign: "sign", compute.OpTypeExp: "exp",
	compute.OpTypeExpm1: "expm1", compute.OpTypeLog: "log", compute.OpTypeLog1p: "log1p", compute.OpTypeSqrt: "sqrt",
	compute.OpTypeRsqrt: "rsqrt", compute.OpTypeLogistic: "logistic", compute.OpTypeTanh: "tanh", compute.OpTypeErf: "erf",
	compute.OpTypeFloor: "floor", compute.OpTypeCeil: "ceil", compute.OpTypeRound: "round", compute.OpTypeSin: "sin",
	compute.OpTypeCos: "cos", compute.OpTypeLogicalNot: "not", compute.OpTypeBitwiseNot: "not",
	compute.OpTypeIsFinite: "isfinite", compute.OpTypeIsNaN: "isnan", compute.OpTypeBitCount: "popcount", compute.OpTypeClz: "clz",
}

var binaryNames = map[compute.OpType]string{
	compute.OpTypeAdd: "add", compute.OpTypeSub: "sub", compute.OpTypeMul: "mul", compute.OpTypeDiv: "div",
	compute.OpTypeRem: "rem", compute.OpTypePow: "pow", compute.OpTypeMax: "max", compute.OpTypeMin: "min",
	compute.OpTypeAtan2: "atan2", compute.OpTypeLogicalAnd: "and", compute.OpTypeLogicalOr: "or", compute.OpTypeLogicalXor: "xor",
	compute.OpTypeBitwiseAnd: "and", compute.OpTypeBitwiseOr: "or", compute.OpTypeBitwiseXor: "xor",
	compute.OpTypeShiftLeft: "shl", compute.OpTypeShiftRightArithmetic: "shra", compute.OpTypeShiftRightLogical: "shrl",
	compute.OpTypeEqual: "eq", compute.OpTypeNotEqual: "ne", compute.OpTypeLessThan: "lt", compute.OpTypeLessOrEqual: "le",
	compute.OpTypeGreaterThan: "gt", compute.OpTypeGreaterOrEqual: "ge",
	compute.OpTypeEqualTotalOrder: "eq_total", compute.OpTypeNotEqualTotalOrder: "ne_total",
	compute.OpTypeLessThanTotalOrder: "lt_total", compute.OpTypeLessOrEqualTotalOrder: "le_total",
	compute.OpTypeGreaterThanTotalOrder: "gt_total", compute.OpTypeGreaterOrEqualTotalOrder: "ge_total",
}

var otherOps = []compute.OpType{
	compute.OpTypeParameter, compute.OpTypeConstant, compute.OpTypeIdentity, compute.OpTypeRNGBitGenerator, compute.OpTypeArgMinMax,
	compute.OpTypeBitcast, compute.OpTypeBroadcastInDim, compute.OpTypeCall, compute.OpTypeClamp, compute.OpTypeConcatenate,
	compute.OpTypeConvertDType, compute.OpTypeDotGeneral, compute.OpTypeDynamicSlice, compute.OpTypeDynamicUpdateSlice,
	compute.OpTypeGather, compute.OpTypeIota, compute.OpTypePad, compute.OpTypeReduceBitwiseAnd, compute.OpTypeReduceBitwiseOr,
	compute.OpTypeReduceBitwiseXor, compute.OpTypeReduceLogicalAnd, compute.OpTypeReduceLogicalOr,
	compute.OpTypeReduceLogicalXor, compute.OpTypeReduceMax, compute.OpTypeReduceMin, compute.OpTypeReduceProduct,
	compute.OpTypeReduceSum, compute.OpTypeReshape, compute.OpTypeReverse, compute.OpTypeScatterMax, compute.OpTypeScatterMin,
	compute.OpTypeScatterSum, compute.OpTypeSlice, compute.OpTypeTranspose, compute.OpTypeWhere,
	compute.OpTypeOptimizationBarrier, compute.OpTypeSchedulingBarrier, compute.OpTypeAllReduce,
}

// make adds nodes to the program. A panic of package cpu, which means that shapes do not fit, becomes an error.
func (f *function) make(op compute.OpType, build func(p *cpu.Program) *cpu.Node) (v compute.Value, err error) {
	defer func() {
		if r := recover(); r != nil {
			v, err = nil, fmt.Errorf("%s: %v", op, r)
		}
	}()
	return &value{f, build(f.program)}, nil
}

// stretch repeats x to the given sizes by the rule of implicit broadcasting: scalars, and dimensions of one.
func stretch(p *cpu.Program, x *cpu.Node, dims []int) *cpu.Node {
	have := x.Shape().Dims
	if len(have) == 0 {
		return p.Splat(x, dims...)
	}
	axes := make([]int, len(have))
	for i := range axes {
		axes[i] = i
	}
	return p.Broadcast(x, dims, axes)
}

func (f *function) unary(op compute.OpType, v compute.Value) (compute.Value, error) {
	x, err := f.nodes(v)
	if err != nil {
		return nil, err
	}
	if op != compute.OpTypeIsFinite && op != compute.OpTypeIsNaN {
		if _, err := shapeinference.UnaryOp(op, gomlxShape(x[0].Shape())); err != nil {
			return nil, err
		}
	}
	return f.make(op, func(p *cpu.Program) *cpu.Node { return p.Apply(unaryNames[op], x[0]) })
}

func (f *function) binary(op compute.OpType, a, b compute.Value) (compute.Value, error) {
	x, err := f.nodes(a, b)
	if err != nil {
		return nil, err
	}
	infer := shapeinference.BinaryOp
	if shapeinference.ComparisonOperations.Has(op) {
		infer = shapeinference.ComparisonOp
	}
	like := op
	if op == compute.OpTypeNotEqualTotalOrder { // which the tables of shapeinference lack
		like, infer = compute.OpTypeNotEqual, shapeinference.ComparisonOp
	}
	out, err := infer(like, gomlxShape(x[0].Shape()), gomlxShape(x[1].Shape()))
	if err != nil {
		return nil, err
	}
	return f.make(op, func(p *cpu.Program) *cpu.Node {
		return p.Apply(binaryNames[op], stretch(p, x[0], out.Dimensions), stretch(p, x[1], out.Dimensions))
	})
}

func (f *function) Where(cond, a, b compute.Value) (compute.Value, error) {
	x, err := f.nodes(cond, a, b)
	if err != nil {
		return nil, err
	}
	out, err := shapeinference.Where(gomlxShape(x[0].Shape()), gomlxShape(x[1].Shape()), gomlxShape(x[2].Shape()))
	if err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeWhere, func(p *cpu.Program) *cpu.Node {
		d := out.Dimensions
		return p.Where(stretch(p, x[0], d), stretch(p, x[1], d), stretch(p, x[2], d))
	})
}

func (f *function) Clamp(low, x, high compute.Value) (compute.Value, error) {
	v, err := f.Max(x, low)
	if err != nil {
		return nil, err
	}
	return f.Min(v, high)
}

func (f *function) Identity(x compute.Value) (compute.Value, error) {
	n, err := f.nodes(x)
	if err != nil {
		return nil, err
	}
	return &value{f, n[0]}, nil
}

func (f *function) ConvertDType(x compute.Value, d dtypes.DType) (compute.Value, error) {
	n, err := f.nodes(x)
	if err != nil {
		return nil, err
	}
	to, err := cpuShape(shapes.Make(d))
	if err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeConvertDType, func(p *cpu.Program) *cpu.Node { return p.Convert(n[0], to.DType) })
}

func (f *function) Bitcast(x compute.Value, d dtypes.DType) (compute.Value, error) {
	n, err := f.nodes(x)
	if err != nil {
		return nil, err
	}
	if _, err := shapeinference.Bitcast(gomlxShape(n[0].Shape()), d); err != nil {
		return nil, err
	}
	to, err := cpuShape(shapes.Make(d))
	if err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeBitcast, func(p *cpu.Program) *cpu.Node { return p.Bitcast(n[0], to.DType) })
}

func (f *function) Reshape(x compute.Value, dims ...int) (compute.Value, error) {
	n, err := f.nodes(x)
	if err != nil {
		return nil, err
	}
	out, err := shapeinference.Reshape(gomlxShape(n[0].Shape()), dims)
	if err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeReshape, func(p *cpu.Program) *cpu.Node { return p.Reshape(n[0], out.Dimensions...) })
}

func (f *function) Transpose(x compute.Value, perm ...int) (compute.Value, error) {
	n, err := f.nodes(x)
	if err != nil {
		return nil, err
	}
	if _, err := shapeinference.Transpose(gomlxShape(n[0].Shape()), perm); err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeTranspose, func(p *cpu.Program) *cpu.Node { return p.Transpose(n[0], perm...) })
}

func (f *function) BroadcastInDim(x compute.Value, to shapes.Shape, axes []int) (compute.Value, error) {
	n, err := f.nodes(x)
	if err != nil {
		return nil, err
	}
	if err := shapeinference.BroadcastInDim(gomlxShape(n[0].Shape()), to, axes, nil); err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeBroadcastInDim, func(p *cpu.Program) *cpu.Node {
		return p.Broadcast(n[0], to.Dimensions, append([]int{}, axes...))
	})
}

func (f *function) Iota(s shapes.Shape, axis int) (compute.Value, error) {
	if _, err := f.nodes(); err != nil {
		return nil, err
	}
	c, err := cpuShape(s)
	if err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeIota, func(p *cpu.Program) *cpu.Node { return p.Iota(c, axis) })
}

func (f *function) Slice(x compute.Value, starts, limits, strides []int) (compute.Value, error) {
	n, err := f.nodes(x)
	if err != nil {
		return nil, err
	}
	if len(strides) == 0 {
		strides = make([]int, len(starts))
		for i := range strides {
			strides[i] = 1
		}
	}
	limits = append([]int{}, limits...)
	for i, d := range n[0].Shape().Dims {
		if i < len(limits) && limits[i] == shapes.DynamicDim {
			limits[i] = d
		}
	}
	if _, err := shapeinference.Slice(gomlxShape(n[0].Shape()), starts, limits, strides); err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeSlice, func(p *cpu.Program) *cpu.Node { return p.Slice(n[0], starts, limits, strides) })
}

func (f *function) Reverse(x compute.Value, axes ...int) (compute.Value, error) {
	n, err := f.nodes(x)
	if err != nil {
		return nil, err
	}
	for _, a := range axes {
		if a < 0 || a >= len(n[0].Shape().Dims) {
			return nil, fmt.Errorf("Reverse: axis %d of %s", a, n[0].Shape())
		}
	}
	return f.make(compute.OpTypeReverse, func(p *cpu.Program) *cpu.Node { return p.Reverse(n[0], axes...) })
}

func (f *function) Pad(x, fill compute.Value, axes ...compute.PadAxis) (compute.Value, error) {
	n, err := f.nodes(x, fill)
	if err != nil {
		return nil, err
	}
	if _, err := shapeinference.Pad(gomlxShape(n[0].Shape()), axes...); err != nil {
		return nil, err
	}
	rank := len(n[0].Shape().Dims)
	lo, hi, inner := make([]int, rank), make([]int, rank), make([]int, rank)
	for i, a := range axes {
		lo[i], hi[i], inner[i] = a.Start, a.End, a.Interior
	}
	return f.make(compute.OpTypePad, func(p *cpu.Program) *cpu.Node { return p.Pad(n[0], n[1], lo, hi, inner) })
}

func (f *function) Concatenate(axis int, xs ...compute.Value) (compute.Value, error) {
	n, err := f.nodes(xs...)
	if err != nil {
		return nil, err
	}
	s := make([]shapes.Shape, len(n))
	for i, x := range n {
		s[i] = gomlxShape(x.Shape())
	}
	if _, err := shapeinference.Concatenate(s, axis); err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeConcatenate, func(p *cpu.Program) *cpu.Node { return p.Concat(axis, n...) })
}

func (f *function) OptimizationBarrier(xs ...compute.Value) ([]compute.Value, error) {
	n, err := f.nodes(xs...)
	if err != nil {
		return nil, err
	}
	if len(n) == 0 {
		return nil, fmt.Errorf("OptimizationBarrier of nothing")
	}
	out := make([]compute.Value, len(n))
	for i, x := range n {
		out[i] = &value{f, f.program.Barrier(x)}
	}
	return out, nil
}

func (f *function) SchedulingBarrier(x compute.Value, after ...compute.Value) (compute.Value, error) {
	n, err := f.nodes(append([]compute.Value{x}, after...)...)
	if err != nil {
		return nil, err
	}
	return &value{f, f.program.Barrier(n[0], n[1:]...)}, nil
}

func (f *function) RNGBitGenerator(state compute.Value, s shapes.Shape) (next, bits compute.Value, err error) {
	n, err := f.nodes(state)
	if err != nil {
		return nil, nil, err
	}
	c, err := cpuShape(s)
	if err != nil {
		return nil, nil, err
	}
	bits, err = f.make(compute.OpTypeRNGBitGenerator, func(p *cpu.Program) *cpu.Node {
		a, b := p.Random(n[0], c)
		next = &value{f, a}
		return b
	})
	return next, bits, err
}
