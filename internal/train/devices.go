package train

import (
	"errors"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/distributed"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Training on several devices: every one holds all weights and their moments, takes a part of each batch, and adds its gradients to those of
// the others (data parallelism; Li et al. 2020, arXiv:2006.15704), after which all make the same update. In GoMLX's terms it is the
// strategy SPMD with an all-reduce of the gradients: the step and the update are programs of all devices, the norm of the gradient,
// which is the same everywhere, of the first one alone. With one device nothing of it is drawn.

// MaxDevices bounds the devices of a trainer.
const MaxDevices = 1024

// devices are what a trainer runs on: the first n of a backend.
type devices struct {
	backend compute.Backend
	n       int
}

// array is one array on all devices: copies of the same values, or a part of the rows on each.
type array []compute.Buffer

// replicate puts the same values on every device.
func (d *devices) replicate(values any, dims ...int) (array, error) {
	s, err := shapeOf(values, dims)
	if err != nil {
		return nil, err
	}
	a := make(array, d.n)
	for i := range a {
		if a[i], err = d.backend.BufferFromFlatData(compute.DeviceNum(i), values, s); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// refill makes an array hold other values on every device, on pare's own backend in place: what is exchanged at every step is no garbage.
func (d *devices) refill(a array, values []float32, dims ...int) error {
	if _, own := d.backend.(*backend); own {
		for _, b := range a {
			to, err := b.Data()
			if err != nil {
				return err
			}
			copy(to.([]float32), values)
		}
		return nil
	}
	fresh, err := d.replicate(values, dims...)
	if err != nil {
		return err
	}
	err = a.finalize()
	copy(a, fresh)
	return err
}

// finalize frees the memory of an array that is not used any more.
func (a array) finalize() error {
	var err error
	for _, b := range a {
		err = errors.Join(err, b.Finalize())
	}
	return err
}

// shard puts on every device its part of the values; dims are those of a part.
func (d *devices) shard(values any, dims ...int) (array, error) {
	if _, err := shapeOf(values, append([]int{d.n}, dims...)); err != nil {
		return nil, err
	}
	a := make(array, d.n)
	for i := range a {
		var part any
		switch v := values.(type) {
		case []float32:
			part = v[i*len(v)/d.n : (i+1)*len(v)/d.n]
		case []int32:
			part = v[i*len(v)/d.n : (i+1)*len(v)/d.n]
		}
		s, err := shapeOf(part, dims)
		if err != nil {
			return nil, err
		}
		if a[i], err = d.backend.BufferFromFlatData(compute.DeviceNum(i), part, s); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// compile draws and compiles a program of all devices.
func (d *devices) compile(name string, params []shapes.Shape, build func(in []*Node) []*Node) (*program, error) {
	if d.n == 1 {
		return compileProgram(d.backend, name, params, build)
	}
	mesh, err := distributed.NewDeviceMesh([]int{d.n}, []string{"data"})
	if err != nil {
		return nil, err
	}
	return compileOn(d.backend, mesh, name, params, build)
}

// run executes a program of all devices. Donated arrays are gone afterwards.
func (d *devices) run(p *program, in []array, donate []bool) ([]array, error) {
	var flat []compute.Buffer
	var given []bool
	for i := range d.n {
		for _, a := range in {
			flat = append(flat, a[i])
		}
		given = append(given, donate...)
	}
	out, err := p.run(flat, given)
	if err != nil {
		return nil, err
	}
	arrays := make([]array, len(out)/d.n)
	for k := range arrays {
		for i := range d.n {
			arrays[k] = append(arrays[k], out[i*len(arrays)+k])
		}
	}
	return arrays, nil
}

// sumOver adds up arrays of all devices.
func sumOver(list []*Node) []*Node {
	return list[0].Graph().Distributed().AllReduce(list, compute.ReduceOpSum)
}

// rowsEach returns how many of a batch's sequences a device gets.
func (d *devices) rowsEach(rows int) int { return (rows + d.n - 1) / d.n }

// padded repeats the first of n rows until there is one for every place. The rows that are added must not count.
func padded(values any, rows, places int) any {
	if rows == places {
		return values
	}
	switch v := values.(type) {
	case []float32:
		return padRows(v, rows, places)
	case []int32:
		return padRows(v, rows, places)
	}
	return values // an error where it is put on the devices
}

func padRows[T any](v []T, rows, places int) []T {
	if len(v)%rows != 0 {
		return v // likewise
	}
	width := len(v) / rows
	return append(slices.Clone(v), slices.Repeat(v[:width], places-rows)...)
}
