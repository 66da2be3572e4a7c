package codec

// block is a format of fixed blocks. Its functions work on any number of whole blocks.
type block struct {
	name          string
	values, bytes int
	decode        func(dst []float32, src []byte)
	encode        func(dst []byte, src, importance []float32) // nil where pare only reads
}

func (b *block) Name() string                     { return b.name }
func (b *block) Block() (int, int)                { return b.values, b.bytes }
func (b *block) Decode(dst []float32, src []byte) { b.decode(dst, src) }
func (b *block) Encode(dst []byte, src, importance []float32) {
	if b.encode != nil {
		b.encode(dst, src, importance)
	}
}
