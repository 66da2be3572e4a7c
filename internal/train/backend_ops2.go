package train

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapeinference"

	"github.com/parelm/pare/internal/train/cpu"
)

// Reductions, products and operations by index.

func (f *function) reduce(op compute.OpType, kind string, x compute.Value, axes []int) (compute.Value, error) {
	n, err := f.nodes(x)
	if err != nil {
		return nil, err
	}
	if len(axes) == 0 {
		axes = make([]int, len(n[0].Shape().Dims))
		for i := range axes {
			axes[i] = i
		}
	}
	if _, err := shapeinference.Reduce(gomlxShape(n[0].Shape()), axes); err != nil {
		return nil, err
	}
	return f.make(op, func(p *cpu.Program) *cpu.Node { return p.Reduce(kind, n[0], axes...) })
}

// collectives are the reductions over devices.
var collectives = map[compute.ReduceOpType]string{
	compute.ReduceOpSum: "add", compute.ReduceOpProduct: "mul", compute.ReduceOpMax: "max", compute.ReduceOpMin: "min",
}

// AllReduce combines the values that the devices of each group have for the operands. Devices are given by their place in the
// assignment; each must be in one group.
func (f *function) AllReduce(xs []compute.Value, reduction compute.ReduceOpType, groups [][]int) ([]compute.Value, error) {
	n, err := f.nodes(xs...)
	if err != nil {
		return nil, err
	}
	kind := collectives[reduction]
	if kind == "" || !f.builder.spmd {
		return nil, fmt.Errorf("all-reduce %s in graph %q, which runs on several devices: %t", reduction, f.builder.name, f.builder.spmd)
	}
	if all := slices.Concat(groups...); len(all) != len(f.builder.assigned) {
		return nil, fmt.Errorf("all-reduce over groups %v of devices, graph %q has %d", groups, f.builder.name, len(f.builder.assigned))
	}
	var out []compute.Value
	_, err = f.make(compute.OpTypeAllReduce, func(p *cpu.Program) *cpu.Node {
		results := p.AllReduce(kind, n, groups)
		for _, r := range results {
			out = append(out, &value{f, r})
		}
		return results[0]
	})
	return out, err
}

func (f *function) ArgMinMax(x compute.Value, axis int, d dtypes.DType, least bool) (compute.Value, error) {
	n, err := f.nodes(x)
	if err != nil {
		return nil, err
	}
	out, err := shapeinference.ArgMinMax(gomlxShape(n[0].Shape()), axis, d)
	if err != nil {
		return nil, err
	}
	to, err := cpuShape(out)
	if err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeArgMinMax, func(p *cpu.Program) *cpu.Node { return p.Arg(n[0], axis, least, to.DType) })
}

func (f *function) DotGeneral(a compute.Value, aContract, aBatch []int, b compute.Value, bContract, bBatch []int,
	config compute.DotGeneralConfig) (compute.Value, error) {
	n, err := f.nodes(a, b)
	if err != nil {
		return nil, err
	}
	if _, err := shapeinference.DotGeneral(gomlxShape(n[0].Shape()), aContract, aBatch,
		gomlxShape(n[1].Shape()), bContract, bBatch, config); err != nil {
		return nil, err
	}
	own := gomlxDType[n[0].Shape().DType]
	for _, d := range []dtypes.DType{config.AccumulatorDType, config.OutputDType} {
		if d != dtypes.InvalidDType && d != own {
			return nil, fmt.Errorf("backend %s sums products of %s in %s, not %s: %w", backendName, own, own, d, compute.ErrNotImplemented)
		}
	}
	spec := cpu.DotSpec{LContract: aContract, LBatch: aBatch, RContract: bContract, RBatch: bBatch}
	return f.make(compute.OpTypeDotGeneral, func(p *cpu.Program) *cpu.Node { return p.Dot(n[0], n[1], spec) })
}

func (f *function) Gather(operand, indices compute.Value, indexAxis int, offset, collapsed, startMap, sizes []int, sorted bool) (compute.Value, error) {
	n, err := f.nodes(operand, indices)
	if err != nil {
		return nil, err
	}
	out, err := shapeinference.Gather(gomlxShape(n[0].Shape()), gomlxShape(n[1].Shape()), indexAxis, offset, collapsed, startMap, sizes, sorted)
	if err != nil {
		return nil, err
	}
	to, err := cpuShape(out)
	if err != nil {
		return nil, err
	}
	spec := cpu.GatherSpec{IndexAxis: indexAxis, Offset: offset, Collapsed: collapsed, Map: startMap, Sizes: sizes}
	return f.make(compute.OpTypeGather, func(p *cpu.Program) *cpu.Node { return p.Gather(n[0], n[1], spec, to) })
}

func (f *function) scatter(op compute.OpType, kind string, operand, indices, updates compute.Value, indexAxis int, window, inserted, axes []int) (compute.Value, error) {
	n, err := f.nodes(operand, indices, updates)
	if err != nil {
		return nil, err
	}
	if _, err := shapeinference.Scatter(gomlxShape(n[0].Shape()), gomlxShape(n[1].Shape()), gomlxShape(n[2].Shape()),
		indexAxis, window, inserted, axes); err != nil {
		return nil, err
	}
	spec := cpu.GatherSpec{IndexAxis: indexAxis, Offset: window, Collapsed: inserted, Map: axes}
	return f.make(op, func(p *cpu.Program) *cpu.Node { return p.Scatter(kind, n[0], n[1], n[2], spec) })
}

func (f *function) DynamicSlice(x compute.Value, starts []compute.Value, sizes []int) (compute.Value, error) {
	n, err := f.nodes(append([]compute.Value{x}, starts...)...)
	if err != nil {
		return nil, err
	}
	if _, err := shapeinference.DynamicSlice(gomlxShape(n[0].Shape()), sizes); err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeDynamicSlice, func(p *cpu.Program) *cpu.Node { return p.DynamicSlice(n[0], n[1:], sizes) })
}

func (f *function) DynamicUpdateSlice(x, update compute.Value, starts []compute.Value) (compute.Value, error) {
	n, err := f.nodes(append([]compute.Value{x, update}, starts...)...)
	if err != nil {
		return nil, err
	}
	if _, err := shapeinference.DynamicUpdateSlice(gomlxShape(n[0].Shape()), gomlxShape(n[1].Shape())); err != nil {
		return nil, err
	}
	return f.make(compute.OpTypeDynamicUpdateSlice, func(p *cpu.Program) *cpu.Node { return p.DynamicUpdate(n[0], n[1], n[2:]) })
}
