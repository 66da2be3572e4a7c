package torch

// The values of a pickle, beside Go's nil, bool, int64, float64, string and []byte.
type (
	// tuple is a Python tuple.
	tuple []any
	// list is a Python list, or set.
	list struct{ items []any }
	// dict is a Python dictionary in the order of insertion. A key that occurs twice is listed twice, the last counts.
	dict struct{ keys, values []any }
	// global is a class or function by name. Nothing of it exists here.
	global struct{ module, name string }
	// record is an instance of a class that pare does not know, as plain data.
	record struct {
		class global
		args  any
		state any
	}
	// storage is a run of elements in a file of the archive.
	storage struct {
		dtype string // codec name; empty for untyped bytes
		key   string // file name below data/
		count int64  // elements, bytes when untyped
	}
	// strided is a tensor: a view of a storage.
	strided struct {
		storage       *storage
		dtype         string
		offset        int64
		shape, stride []int64
	}
)

func (g global) String() string { return g.module + "." + g.name }
