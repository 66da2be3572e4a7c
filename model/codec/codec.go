// Package codec turns rows of float32 values into the block formats in which weights are stored, and back.
//
// Each format is one file and registers itself under the name that files use in lower case: "f32", "bf16",
// "q8_0", "q4_k", "int4g128". A format stores a row as consecutive blocks of a fixed number of values in a
// fixed number of bytes; plain element types are blocks of one value.
package codec

import (
	"fmt"
	"sort"
	"sync"
)

// Codec is one storage format. Implementations are stateless, safe for concurrent use and comparable: two codecs are the
// same format exactly when they are ==.
type Codec interface {
	// Name is the format's name in lower case, as users type it: "q4_k".
	Name() string
	// Block returns how many values one block holds and how many bytes it takes. 0, 0 says that a block is a whole row,
	// however long: sizes come from RowBytes.
	Block() (values, bytes int)
	// Decode sets dst to the values of whole blocks: len(dst) is a multiple of the block's values and
	// len(src) the bytes of as many blocks. Any bytes decode to something.
	Decode(dst []float32, src []byte)
	// Encode writes src as whole blocks into dst, with Decode's lengths. importance is nil or holds one
	// non-negative weight for each value of src: the squared error of a value counts that much. Formats that
	// have nothing to choose ignore it. With importances src is one row: some formats weigh a value against the mean
	// square of its row. Formats that only decode (see CanEncode) leave dst as it is.
	Encode(dst []byte, src, importance []float32)
}

var (
	mu       sync.RWMutex
	registry = map[string]Codec{}
)

// Register makes c known to Lookup. It panics when the name is taken: two formats of one name are a bug.
func Register(c Codec) {
	mu.Lock()
	defer mu.Unlock()
	if _, dup := registry[c.Name()]; dup {
		panic("codec: " + c.Name() + " registered twice")
	}
	registry[c.Name()] = c
}

// Lookup returns the format of that name, or an error that lists the known names.
func Lookup(name string) (Codec, error) {
	mu.RLock()
	c, ok := registry[name]
	mu.RUnlock()
	if ok {
		return c, nil
	}
	if c := parametric(name); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("unknown format %q (known: %v)", name, Names())
}

// Names returns the names of all registered formats, sorted.
func Names() []string {
	mu.RLock()
	defer mu.RUnlock()
	names := make([]string, 0, len(registry))
	for n := range registry {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// CanEncode reports whether c encodes. A few formats of other programs can only be read.
func CanEncode(c Codec) bool {
	b, ok := c.(*block)
	return !ok || b.encode != nil
}

// RowBytes returns the bytes that a row of n values takes, or an error when n is not a whole number of blocks.
func RowBytes(c Codec, n int) (int, error) {
	values, bytes := c.Block()
	if _, ok := c.(rowFP8); ok {
		return fp8Head + n, nil
	}
	if g, ok := c.(*group); ok && values == 0 {
		if n%2 != 0 {
			return 0, fmt.Errorf("row of %d values: %s needs an even number", n, c.Name())
		}
		return g.Bytes(n), nil
	}
	if n%values != 0 {
		return 0, fmt.Errorf("row of %d values is not a multiple of the %s block of %d", n, c.Name(), values)
	}
	return n / values * bytes, nil
}
