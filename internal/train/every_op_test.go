package train

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// elsewhere names the test of every operation that takes more than arrays and axes, and of those that the reference lacks.
var elsewhere = map[compute.OpType]func(t *testing.T){
	compute.OpTypeParameter: TestBackendSuite, compute.OpTypeConstant: TestMovingOps,
	compute.OpTypeRNGBitGenerator: TestRandomBits, compute.OpTypeArgMinMax: TestReductions, compute.OpTypeBitcast: TestMovingOps,
	compute.OpTypeBroadcastInDim: TestMovingOps, compute.OpTypeCall: TestNorm,
	compute.OpTypeConcatenate: TestMovingOps, compute.OpTypeConvertDType: TestBinaryOps, compute.OpTypeDotGeneral: TestDotGeneral,
	compute.OpTypeDynamicSlice: TestUnreferencedOps, compute.OpTypeDynamicUpdateSlice: TestUnreferencedOps,
	compute.OpTypeAllReduce: TestAllReduce, compute.OpTypeGather: TestIndexing, compute.OpTypeScatterMax: TestIndexing, compute.OpTypeScatterMin: TestIndexing,
	compute.OpTypeScatterSum: TestIndexing, compute.OpTypeIota: TestMovingOps, compute.OpTypePad: TestMovingOps,
	compute.OpTypeReshape: TestMovingOps, compute.OpTypeReverse: TestMovingOps, compute.OpTypeSlice: TestMovingOps,
	compute.OpTypeTranspose: TestMovingOps, compute.OpTypeWhere: TestBinaryOps,
	compute.OpTypeOptimizationBarrier: TestBackendSuite, compute.OpTypeSchedulingBarrier: TestCheckpoint,
	compute.OpTypeEqualTotalOrder: TestUnreferencedOps, compute.OpTypeNotEqualTotalOrder: TestUnreferencedOps,
	compute.OpTypeLessThanTotalOrder: TestUnreferencedOps, compute.OpTypeGreaterOrEqualTotalOrder: TestUnreferencedOps,
	compute.OpTypeLessOrEqualTotalOrder: TestUnreferencedOps, compute.OpTypeGreaterThanTotalOrder: TestUnreferencedOps,
}

// TestEveryOp compares every operation that the backend says it has with the reference, or knows the test that does. An
// operation that is added without either fails.
func TestEveryOp(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	for op := range newBackend(1).Capabilities().Operations {
		t.Run(op.String(), func(t *testing.T) {
			operands := operandsOf(op)
			switch {
			case elsewhere[op] != nil:
				return
			case operands == 0:
				t.Fatal("no test checks this operation")
			}
			d := operandType(op)
			in := make([]any, operands)
			for i := range in {
				in[i] = operand(r, d, 60)
			}
			want, err := applyOp(gomlxBackend(), op, d, in)
			if errors.Is(err, compute.ErrNotImplemented) {
				t.Fatalf("the reference lacks it, so a test by hand must check it: %v", err)
			}
			if err != nil {
				t.Fatalf("reference: %v", err)
			}
			got, err := applyOp(newBackend(1), op, d, in)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want) {
				t.Fatalf("%d values, want %d", len(got), len(want))
			}
			for i, w := range want {
				if g := got[i]; g != w && !(math.Abs(g-w) <= 2e-6*max(1, math.Abs(w))) {
					t.Errorf("value %d is %v, want %v", i, g, w)
				}
			}
		})
	}
}

// operandsOf returns how many arrays an operation takes, 0 where it takes other things too.
func operandsOf(op compute.OpType) int {
	switch {
	case op == compute.OpTypeClamp:
		return 3
	case binaryNames[op] != "":
		return 2
	case unaryNames[op] != "" || op == compute.OpTypeIdentity || strings.HasPrefix(op.String(), "Reduce"):
		return 1
	}
	return 0
}

func operandType(op compute.OpType) dtypes.DType {
	name := op.String()
	switch {
	case strings.Contains(name, "Logical") && !strings.Contains(name, "Shift"):
		return dtypes.Bool
	case strings.Contains(name, "Bit") || strings.Contains(name, "Shift") || name == "Clz":
		return i32
	}
	return f32
}

// operand returns n values that every operation is defined for.
func operand(r *rand.Rand, d dtypes.DType, n int) any {
	switch d {
	case dtypes.Bool:
		x := make([]bool, n)
		for i := range x {
			x[i] = r.IntN(3) > 0
		}
		return x
	case i32:
		x := make([]int32, n)
		integers(r, x)
		return x
	}
	x := make([]float32, n)
	for i := range x {
		x[i] = 0.1 + 1.5*r.Float32()
	}
	return x
}

// applyOp runs one operation on arrays of 5x12; reductions go over the second dimension.
func applyOp(b compute.Backend, op compute.OpType, d dtypes.DType, in []any) ([]float64, error) {
	builder := b.Builder("one operation")
	f := builder.Main()
	var args []reflect.Value
	var buffers []compute.Buffer
	for i, x := range in {
		shape := shapes.Make(d, 5, 12)
		p, err := f.Parameter(string(rune('a'+i)), shape, nil)
		if err != nil {
			return nil, err
		}
		buffer, err := b.BufferFromFlatData(0, x, shape)
		if err != nil {
			return nil, err
		}
		args, buffers = append(args, reflect.ValueOf(p)), append(buffers, buffer)
	}
	if strings.HasPrefix(op.String(), "Reduce") {
		args = append(args, reflect.ValueOf(1))
	}
	result := reflect.ValueOf(f).MethodByName(op.String()).Call(args)
	if err, _ := result[1].Interface().(error); err != nil {
		return nil, err
	}
	if err := f.Return([]compute.Value{result[0].Interface().(compute.Value)}, nil); err != nil {
		return nil, err
	}
	exec, err := builder.Compile()
	if err != nil {
		return nil, err
	}
	out, err := exec.Execute(buffers, make([]bool, len(buffers)), 0)
	if err != nil {
		return nil, err
	}
	shape, err := out[0].Shape()
	if err != nil {
		return nil, err
	}
	flat := reflect.MakeSlice(reflect.SliceOf(shape.DType.GoType()), shape.Size(), shape.Size())
	if err := out[0].ToFlatData(flat.Interface()); err != nil {
		return nil, err
	}
	values := make([]float64, flat.Len())
	for i := range values {
		switch v := flat.Index(i); v.Kind() {
		case reflect.Bool:
			values[i] = map[bool]float64{true: 1}[v.Bool()]
		case reflect.Int32, reflect.Int64:
			values[i] = float64(v.Int())
		default:
			values[i] = v.Convert(reflect.TypeFor[float64]()).Float()
		}
	}
	return values, nil
}
