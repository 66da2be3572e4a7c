package train

import (
	"fmt"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/train/cpu"
)

// backendName is the name under which pare's backend is registered with GoMLX.
const backendName = "pare"

// backend implements compute.Backend on package cpu. Its devices, one unless more are asked for, are parts of the host's memory that
// take turns on the host's processors (cpu/collective.go).
type backend struct {
	mu          sync.Mutex
	definitions map[string]*definition   // of composites, by function name
	bodies      map[string]*graphBuilder // of graphs that define composites, while they are drawn
	last        *cpu.Exec                // compiled last
	arenas      []*cpu.Arena             // by device; of all programs, which run one after the other
	finished    bool
}

func newBackend(devices int) *backend {
	b := &backend{definitions: map[string]*definition{}, bodies: map[string]*graphBuilder{}}
	for range devices {
		b.arenas = append(b.arenas, cpu.NewArena())
	}
	return b
}

// compiled returns what was compiled last.
func (b *backend) compiled() *cpu.Exec {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

func (b *backend) Name() string        { return backendName }
func (b *backend) String() string      { return backendName }
func (b *backend) Description() string { return "pare's CPU executor" }
func (b *backend) NumDevices() int     { return len(b.arenas) }
func (b *backend) IsFinalized() bool   { return b.finished }

func (b *backend) DeviceDescription(compute.DeviceNum) string {
	return fmt.Sprintf("CPU, %d threads", par.Threads())
}

// Finalize drops everything; buffers that were handed out stay readable.
func (b *backend) Finalize() { b.finished = true }

var dtypeOf = map[dtypes.DType]cpu.DType{
	dtypes.Bool: cpu.Bool, dtypes.Uint8: cpu.Uint8, dtypes.Int32: cpu.Int32, dtypes.Int64: cpu.Int64, dtypes.Uint32: cpu.Uint32,
	dtypes.Uint64: cpu.Uint64, dtypes.Float32: cpu.Float32, dtypes.Float64: cpu.Float64,
}

var gomlxDType = func() map[cpu.DType]dtypes.DType {
	m := map[cpu.DType]dtypes.DType{}
	for g, d := range dtypeOf {
		m[d] = g
	}
	return m
}()

// cpuShape translates a shape. Dynamic dimensions, tuples and types the backend lacks are errors of class
// compute.ErrNotImplemented.
func cpuShape(s shapes.Shape) (cpu.Shape, error) {
	d, ok := dtypeOf[s.DType]
	if !ok || s.IsTuple() {
		return cpu.Shape{}, fmt.Errorf("backend %s has no arrays of shape %s: %w", backendName, s, compute.ErrNotImplemented)
	}
	for _, size := range s.Dimensions {
		if size < 0 {
			return cpu.Shape{}, fmt.Errorf("backend %s has no dynamic dimensions (%s): %w", backendName, s, compute.ErrNotImplemented)
		}
	}
	return cpu.MakeShape(d, s.Dimensions...), nil
}

func gomlxShape(s cpu.Shape) shapes.Shape { return shapes.Make(gomlxDType[s.DType], s.Dims...) }

// Capabilities lists what is implemented.
func (b *backend) Capabilities() compute.Capabilities {
	c := compute.Capabilities{Operations: map[compute.OpType]bool{}, DTypes: map[dtypes.DType]bool{}, Functions: true}
	for d := range dtypeOf {
		c.DTypes[d] = true
	}
	for op := range unaryNames {
		c.Operations[op] = true
	}
	for op := range binaryNames {
		c.Operations[op] = true
	}
	for _, op := range otherOps {
		c.Operations[op] = true
	}
	return c
}

// buffer implements compute.Buffer.
type buffer struct {
	backend *backend
	device  compute.DeviceNum
	b       *cpu.Buffer // nil once finalized or donated
}

func (b *buffer) Backend() compute.Backend { return b.backend }

func (b *buffer) Finalize() error {
	if b.b != nil {
		b.backend.arenas[b.device].Take(b.b)
	}
	b.b = nil
	return nil
}

func (b *buffer) valid() error {
	if b.b == nil {
		return fmt.Errorf("buffer was finalized or donated")
	}
	return nil
}

func (b *buffer) Shape() (shapes.Shape, error) {
	if err := b.valid(); err != nil {
		return shapes.Invalid(), err
	}
	return gomlxShape(b.b.Shape), nil
}

func (b *buffer) DeviceNum() (compute.DeviceNum, error) { return b.device, b.valid() }

func (b *buffer) ToFlatData(flat any) error {
	if err := b.valid(); err != nil {
		return err
	}
	return cpu.CopyData(flat, b.b.Data)
}

func (b *buffer) Data() (any, error) {
	if err := b.valid(); err != nil {
		return nil, err
	}
	return b.b.Data, nil
}

func (b *buffer) CopyToDevice(n compute.DeviceNum) (compute.Buffer, error) {
	shape, err := b.Shape()
	if err != nil {
		return nil, err
	}
	return b.backend.BufferFromFlatData(n, b.b.Data, shape)
}

func (b *backend) BufferFromFlatData(n compute.DeviceNum, flat any, shape shapes.Shape) (compute.Buffer, error) {
	c, data, err := b.NewSharedBuffer(n, shape)
	if err != nil {
		return nil, err
	}
	return c, cpu.CopyData(data, flat)
}

func (b *backend) HasSharedBuffers() bool { return true }

func (b *backend) NewSharedBuffer(n compute.DeviceNum, shape shapes.Shape) (compute.Buffer, any, error) {
	if err := b.checkDevice(n); err != nil {
		return nil, nil, err
	}
	s, err := cpuShape(shape)
	if err != nil {
		return nil, nil, err
	}
	c := cpu.NewBuffer(s)
	return &buffer{b, n, c}, c.Data, nil
}

// checkDevice returns an error for the number of a device that the backend has not.
func (b *backend) checkDevice(n compute.DeviceNum) error {
	if n < 0 || int(n) >= len(b.arenas) {
		return fmt.Errorf("backend %s has no device %d, it has %d", backendName, n, len(b.arenas))
	}
	return nil
}
