package torch

import (
	"fmt"
	"slices"

	"github.com/parelm/pare/internal/limits"
)

// storageTypes maps torch's storage classes to codecs.
var storageTypes = map[string]string{
	"FloatStorage": "f32", "DoubleStorage": "f64", "HalfStorage": "f16", "BFloat16Storage": "bf16",
	"LongStorage": "i64", "IntStorage": "i32", "ShortStorage": "i16", "CharStorage": "i8", "ByteStorage": "u8", "BoolStorage": "bool",
	"UntypedStorage": "",
}

// dtypes maps torch's element types to codecs.
var dtypes = map[string]string{
	"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16",
	"int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8", "uint8": "u8", "bool": "bool",
	"uint16": "u16", "uint32": "u32", "uint64": "u64", "float8_e4m3fn": "f8_e4m3", "float8_e5m2": "f8_e5m2", "float8_e8m0fnu": "f8_e8m0",
}

// plainCalls are functions whose results are plain data, which stays an inert record: numbers of numpy, dates, paths.
var plainCalls = []global{
	{"numpy.core.multiarray", "scalar"}, {"numpy._core.multiarray", "scalar"}, {"numpy", "dtype"}, {"numpy", "ndarray"},
	{"numpy.core.multiarray", "_reconstruct"}, {"numpy._core.multiarray", "_reconstruct"}, {"_codecs", "encode"},
	{"collections", "defaultdict"}, {"collections", "Counter"}, {"collections", "deque"},
	{"builtins", "set"}, {"builtins", "frozenset"}, {"builtins", "complex"}, {"builtins", "slice"}, {"builtins", "range"}, {"builtins", "bytearray"},
	{"__builtin__", "set"}, {"__builtin__", "frozenset"}, {"__builtin__", "complex"}, {"__builtin__", "slice"}, {"__builtin__", "xrange"}, {"__builtin__", "bytearray"},
	{"copy_reg", "_reconstructor"}, {"copyreg", "_reconstructor"}, {"datetime", "datetime"}, {"datetime", "timedelta"}, {"datetime", "date"},
	{"pathlib", "PosixPath"}, {"pathlib", "WindowsPath"}, {"pathlib", "PurePosixPath"}, {"pathlib._local", "PosixPath"},
	{"torch", "device"}, {"torch", "Size"}, {"uuid", "UUID"}, {"decimal", "Decimal"},
}

// object executes the instructions about classes, functions and storages.
func (m *machine) object(op byte) (err error) {
	switch op {
	case 'c': // GLOBAL
		var g global
		if g.module, err = m.line(); err == nil {
			g.name, err = m.line()
		}
		if err != nil {
			return err
		}
		return m.pushSized(g, 64)
	case 0x93: // STACK_GLOBAL
		name, err1 := m.pop()
		module, err2 := m.pop()
		if err1 != nil || err2 != nil {
			return m.corrupt("the stack is empty")
		}
		g := global{}
		var ok1, ok2 bool
		g.module, ok1 = module.(string)
		g.name, ok2 = name.(string)
		if !ok1 || !ok2 {
			return m.corrupt("the name of a class is no string")
		}
		return m.pushSized(g, 64)
	case 'Q': // BINPERSID
		id, err := m.pop()
		if err != nil {
			return err
		}
		s, err := m.storage(id)
		if err != nil {
			return err
		}
		return m.pushSized(s, 64)
	case 'R': // REDUCE
		args, err1 := m.pop()
		f, err2 := m.pop()
		if err1 != nil || err2 != nil {
			return m.corrupt("the stack is empty")
		}
		v, err := m.call(f, args)
		if err != nil {
			return err
		}
		return m.pushSized(v, 96)
	case 0x81, 0x92: // NEWOBJ, NEWOBJ_EX
		return m.newObject(op == 0x92)
	case 'b': // BUILD
		return m.build()
	}
	return m.unsupported("instruction %#x is none of those that tensors need", op)
}

// newObject makes an inert instance of any class.
func (m *machine) newObject(keywords bool) error {
	if keywords {
		if _, err := m.pop(); err != nil {
			return err
		}
	}
	args, err1 := m.pop()
	class, err2 := m.pop()
	if err1 != nil || err2 != nil {
		return m.corrupt("the stack is empty")
	}
	g, ok := class.(global)
	if !ok {
		return m.corrupt("makes an instance of something that is no class")
	}
	if isDict(g) {
		return m.pushSized(&dict{}, 64)
	}
	return m.pushSized(&record{class: g, args: args}, 96)
}

func isDict(g global) bool {
	return g == global{"collections", "OrderedDict"} || g == global{"builtins", "dict"} || g == global{"__builtin__", "dict"}
}

// build gives an object its state. Attributes of dictionaries and tensors, such as _metadata, are dropped.
func (m *machine) build() error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *record:
		v.state = state
	case *dict, *list, *strided, *storage:
	default:
		return m.corrupt("gives a state to something that is no object")
	}
	return nil
}

// storage reads the identity of a storage: ("storage", class, file, device, count).
func (m *machine) storage(id any) (*storage, error) {
	t, ok := id.(tuple)
	if !ok || len(t) < 5 {
		return nil, m.corrupt("the identity of a storage is not a tuple of five")
	}
	kind, _ := t[0].(string)
	class, okClass := t[1].(global)
	key, okKey := t[2].(string)
	count, okCount := t[4].(int64)
	if kind != "storage" || !okClass || !okKey || !okCount || count < 0 {
		return nil, m.corrupt("the identity of a storage is not (\"storage\", class, file, device, count)")
	}
	if class.module != "torch" && class.module != "torch.storage" {
		return nil, m.unsupported("storage of class %s", class)
	}
	dtype, ok := storageTypes[class.name]
	if !ok {
		return nil, m.unsupported("storage of class %s", class)
	}
	return &storage{dtype, key, count}, nil
}

// call answers for a function. Only those are known that make tensors, parameters and dictionaries; the results of a few
// others stay inert.
func (m *machine) call(f, args any) (any, error) {
	g, ok := f.(global)
	if !ok {
		return nil, m.corrupt("calls something that is no function")
	}
	a, ok := args.(tuple)
	if !ok {
		return nil, m.corrupt("calls %s with something that is no tuple", g)
	}
	switch {
	case isDict(g):
		return m.orderedDict(a)
	case g == global{"torch._utils", "_rebuild_tensor_v2"}, g == global{"torch._utils", "_rebuild_tensor"}, g == global{"torch._utils", "_rebuild_tensor_v3"}:
		return m.tensor(g, a)
	case g == global{"torch._utils", "_rebuild_parameter"}, g == global{"torch._utils", "_rebuild_parameter_with_state"}:
		if len(a) > 0 {
			if t, ok := a[0].(*strided); ok {
				return t, nil
			}
		}
		return nil, m.corrupt("%s without a tensor", g)
	case slices.Contains(plainCalls, g):
		return &record{class: g, args: args}, nil
	}
	return nil, m.unsupported("calls %s: pare reads data and executes nothing", g)
}

// orderedDict makes a dictionary of a list of pairs, or an empty one.
func (m *machine) orderedDict(a tuple) (any, error) {
	d := &dict{}
	if len(a) == 0 {
		return d, nil
	}
	l, ok := a[0].(*list)
	if !ok {
		return nil, m.unsupported("a dictionary made of something that is no list")
	}
	for _, item := range l.items {
		var pair []any
		switch p := item.(type) {
		case tuple:
			pair = p
		case *list:
			pair = p.items
		}
		if len(pair) != 2 {
			return nil, m.corrupt("a dictionary made of something that is no pair")
		}
		d.keys = append(d.keys, pair[0])
		d.values = append(d.values, pair[1])
	}
	return d, m.spend(96 * len(l.items))
}

// tensor makes a view: (storage, offset, shape, stride, ...); in the third version the element type is the seventh.
func (m *machine) tensor(g global, a tuple) (any, error) {
	if len(a) < 4 {
		return nil, m.corrupt("%s with %d arguments", g, len(a))
	}
	s, ok := a[0].(*storage)
	if !ok {
		return nil, m.corrupt("%s without a storage", g)
	}
	offset, ok := a[1].(int64)
	if !ok || offset < 0 {
		return nil, m.corrupt("%s with an offset that is no non-negative integer", g)
	}
	shape, err1 := m.numbers(a[2])
	stride, err2 := m.numbers(a[3])
	if err1 != nil || err2 != nil || len(shape) != len(stride) {
		return nil, m.corrupt("%s with a shape or strides that are no lists of equal length of non-negative integers", g)
	}
	t := &strided{s, s.dtype, offset, shape, stride}
	if g.name == "_rebuild_tensor_v3" {
		if len(a) < 7 {
			return nil, m.corrupt("%s with %d arguments", g, len(a))
		}
		d, ok := a[6].(global)
		if !ok {
			return nil, m.corrupt("%s without a type", g)
		}
		if d.module != "torch" || dtypes[d.name] == "" {
			return nil, m.unsupported("tensor of type %s", d)
		}
		t.dtype = dtypes[d.name]
	}
	if t.dtype == "" {
		return nil, m.unsupported("a tensor over a storage without a type")
	}
	return t, nil
}

// numbers reads a tuple or list of non-negative integers, or the torch.Size of one.
func (m *machine) numbers(v any) ([]int64, error) {
	if r, ok := v.(*record); ok && r.class == (global{"torch", "Size"}) {
		if a, ok := r.args.(tuple); ok && len(a) == 1 {
			v = a[0]
		}
	}
	var items []any
	switch v := v.(type) {
	case tuple:
		items = v
	case *list:
		items = v.items
	default:
		return nil, fmt.Errorf("no list")
	}
	if int64(len(items)) > limits.TensorRank {
		return nil, fmt.Errorf("%d dimensions", len(items))
	}
	out := make([]int64, len(items))
	for i, x := range items {
		n, ok := x.(int64)
		if !ok || n < 0 {
			return nil, fmt.Errorf("no non-negative integer")
		}
		out[i] = n
	}
	return out, nil
}
