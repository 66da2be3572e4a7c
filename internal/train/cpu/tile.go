package cpu

import (
	"math"
	"sync"

	"github.com/parelm/pare/internal/par"
)

// A tile program computes a group for nr rows and nc columns at a time. Its values are numbered: loads come first, then
// what instructions compute. A value is full ([nr, nc]), a row value (nr), a column value (nc, the same for every row)
// or a scalar.

type class uint8

const (
	classFull class = iota
	classRow
	classCol
	classScalar
)

// load is a value read from memory.
type load struct {
	from  *storage
	class class
	// A view load reads through strides: outer over rows, inner over columns with a stride of 1 or, for row values, none.
	viewed bool
	outer  view
	dense  bool // outer walks over whole rows without gaps
}

// instr computes value dst from values a, b and c.
type instr struct {
	op      tileOp
	fn      fn
	dst     int
	a, b, c int
}

type tileOp uint8

const (
	tileUnary  tileOp = iota
	tileVV            // classes of a and b equal dst's
	tileVS            // b is a scalar
	tileSV            // a is a scalar
	tileVR            // b is a row value, a and dst are full
	tileRV            // a is a row value
	tileVC            // b is a column value
	tileCV            // a is a column value
	tileSelect        // a ? b : c
	tileSpread        // a, a row value, column value or scalar, as dst
	tileReduce        // every row of a, full, to dst, a row value
	tileCols          // adds the rows of a to the partial sums of reduction b
	tileAll           // combines all of a into the partial result of reduction b
)

// output is a value written to memory.
type output struct {
	value int
	to    *storage
	class class
	bools bool // kept as bool
	// direct: the value is computed in the output's memory.
	direct bool
}

// fold is a reduction over all rows.
type fold struct {
	fn   fn
	cols bool // of every column, else of everything
	to   *storage
	size int
}

// tileProgram is a compiled group.
type tileProgram struct {
	rows, cols int
	nr, nc     int // tile size
	across     int // tiles that a row is cut in
	loads      []load
	code       []instr
	outputs    []output
	folds      []fold
	classes    []class
	slot       []int // scratch slot of computed values; -1 for direct outputs
	full, row  int   // scratch slots of each class
	loadSlot   []int // slot for loads that are converted or gathered; -1 when memory is read in place
	pool       sync.Pool
}

// worker is the state of one thread in a tile program.
type worker struct {
	v      [][]float32
	memory []float32
	cols   [][]float32 // partial sums of this chunk, by fold
	all    []float64
}

// scratch returns slot i: full slots first.
func (p *tileProgram) scratch(w *worker, slot int, c class) []float32 {
	size := p.nr * p.nc
	if c == classRow {
		at := p.full*size + slot*p.nr
		return w.memory[at : at+p.nr]
	}
	return w.memory[slot*size : (slot+1)*size]
}

const tileValues = 2048 // values of a full tile, unless rows are longer

// chunks returns the number of tiles and how many of them are one unit of work. Both depend on sizes alone.
func (p *tileProgram) chunks() (tiles, grain int) {
	tiles = (p.rows + p.nr - 1) / p.nr * p.across
	limit := 64
	for _, f := range p.folds {
		if f.cols {
			limit = min(limit, max(8, 1<<20/p.cols))
		}
	}
	grain = (tiles + limit - 1) / limit
	return tiles, max(grain, 1, (1<<14)/(p.nr*p.nc))
}

// run computes the whole group.
func (p *tileProgram) run(r *run) {
	memory := make([]any, len(p.loads))
	for i, l := range p.loads {
		memory[i] = r.data(l.from)
	}
	outs := make([]any, len(p.outputs))
	for i, o := range p.outputs {
		outs[i] = r.data(o.to)
	}
	tiles, grain := p.chunks()
	count := (tiles + grain - 1) / grain
	cols := make([][]float32, len(p.folds)) // [chunks][cols] partial sums
	all := make([][]float64, len(p.folds))
	for i, f := range p.folds {
		if f.cols {
			cols[i] = r.scratch(count * f.size)
			clear(cols[i])
		} else {
			all[i] = make([]float64, count)
			for k := range all[i] {
				all[i][k] = neutral(f.fn)
			}
		}
	}
	par.For(tiles, grain, func(lo, hi int) {
		w := p.worker()
		chunk := lo / grain
		for i, f := range p.folds {
			if f.cols {
				w.cols[i] = cols[i][chunk*f.size : (chunk+1)*f.size]
			} else {
				w.all[i] = all[i][chunk]
			}
		}
		for t := lo; t < hi; t++ {
			p.tile(w, memory, outs, t)
		}
		for i, f := range p.folds {
			if !f.cols {
				all[i][chunk] = w.all[i]
			}
		}
		p.pool.Put(w)
	})
	for i, f := range p.folds {
		f.finish(r, cols[i], all[i], count)
		if f.cols {
			r.release(cols[i])
		}
	}
}

func neutral(f fn) float64 {
	switch f {
	case fnMul:
		return 1
	case fnMax:
		return math.Inf(-1)
	case fnMin:
		return math.Inf(1)
	}
	return 0
}

// finish combines the partial results of the chunks, in order.
func (f *fold) finish(r *run, cols []float32, all []float64, count int) {
	y := r.data(f.to).([]float32)
	if f.cols {
		copy(y, cols[:f.size])
		for k := 1; k < count; k++ {
			addTo(y, cols[k*f.size:(k+1)*f.size])
		}
		return
	}
	s := all[0]
	for _, v := range all[1:] {
		s = binaryFloat(f.fn, s, v)
	}
	y[0] = float32(s)
}

func (p *tileProgram) worker() *worker {
	if w, ok := p.pool.Get().(*worker); ok {
		return w
	}
	return &worker{
		v:      make([][]float32, len(p.classes)),
		memory: make([]float32, p.full*p.nr*p.nc+p.row*p.nr),
		cols:   make([][]float32, len(p.folds)),
		all:    make([]float64, len(p.folds)),
	}
}

// tile computes the t-th tile.
func (p *tileProgram) tile(w *worker, memory, outs []any, t int) {
	r0, c0 := t/p.across*p.nr, t%p.across*p.nc
	nr, nc := min(p.nr, p.rows-r0), min(p.nc, p.cols-c0)
	for i := range p.loads {
		w.v[i] = p.load(w, i, memory[i], r0, c0, nr, nc)
	}
	for i := len(p.loads); i < len(p.classes); i++ {
		if p.slot[i] < 0 {
			continue
		}
		if p.classes[i] == classRow {
			w.v[i] = p.scratch(w, p.slot[i], classRow)[:nr]
		} else {
			w.v[i] = p.scratch(w, p.slot[i], classFull)[:nr*nc]
		}
	}
	for i, o := range p.outputs {
		if o.direct {
			w.v[o.value] = region(outs[i].([]float32), o.class, p.cols, r0, c0, nr, nc)
		}
	}
	for i := range p.code {
		p.step(w, &p.code[i], nr, nc)
	}
	for i, o := range p.outputs {
		switch {
		case o.bools:
			dst := regionBool(outs[i].([]bool), o.class, p.cols, r0, c0, nr, nc)
			for k, v := range w.v[o.value][:len(dst)] {
				dst[k] = v != 0
			}
		case !o.direct:
			copy(region(outs[i].([]float32), o.class, p.cols, r0, c0, nr, nc), w.v[o.value])
		}
	}
}

// region returns the part of an output that a tile covers. A tile of several rows has all columns.
func region(x []float32, c class, cols, r0, c0, nr, nc int) []float32 {
	if c == classRow {
		return x[r0 : r0+nr : r0+nr]
	}
	at := r0*cols + c0
	return x[at : at+nr*nc : at+nr*nc]
}

func regionBool(x []bool, c class, cols, r0, c0, nr, nc int) []bool {
	if c == classRow {
		return x[r0 : r0+nr]
	}
	return x[r0*cols+c0:][:nr*nc]
}

// load returns the values of a load for a tile: a piece of memory where it lies dense, else a copy.
func (p *tileProgram) load(w *worker, i int, memory any, r0, c0, nr, nc int) []float32 {
	l := &p.loads[i]
	f32, plain := memory.([]float32)
	slot := p.loadSlot[i]
	switch l.class {
	case classScalar:
		if plain {
			return f32[l.outer.offset:][:1]
		}
		dst := p.scratch(w, slot, classRow)[:1]
		convertRange(dst, memory, l.outer.offset)
		return dst
	case classCol:
		at := l.outer.offset + c0
		if plain {
			return f32[at : at+nc]
		}
		dst := p.scratch(w, slot, classFull)[:nc]
		convertRange(dst, memory, at)
		return dst
	case classRow:
		if plain && !l.viewed {
			return f32[r0 : r0+nr]
		}
		dst := p.scratch(w, slot, classRow)[:nr]
		if !l.viewed {
			convertRange(dst, memory, r0)
			return dst
		}
		for k := range dst {
			convertRange(dst[k:k+1], memory, l.outer.at(r0+k))
		}
		return dst
	}
	if plain && (!l.viewed || l.dense || nr == 1) {
		at := r0*p.cols + c0
		if l.viewed {
			at = l.outer.at(r0) + c0
		}
		return f32[at : at+nr*nc]
	}
	dst := p.scratch(w, slot, classFull)[:nr*nc]
	if !l.viewed {
		convertRange(dst, memory, r0*p.cols+c0)
		return dst
	}
	for k := range nr {
		convertRange(dst[k*nc:(k+1)*nc], memory, l.outer.at(r0+k)+c0)
	}
	return dst
}

// convertRange copies values from place at of memory, as float32.
func convertRange(dst []float32, memory any, at int) {
	switch m := memory.(type) {
	case []float32:
		copy(dst, m[at:at+len(dst)])
	case []bool:
		for k, b := range m[at : at+len(dst)] {
			dst[k] = truth(b)
		}
	case []int32:
		for k, x := range m[at : at+len(dst)] {
			dst[k] = float32(x)
		}
	case []uint8:
		for k, x := range m[at : at+len(dst)] {
			dst[k] = float32(x)
		}
	}
}

// step executes one instruction on a tile.
func (p *tileProgram) step(w *worker, in *instr, nr, nc int) {
	var dst []float32
	if in.dst >= 0 {
		dst = w.v[in.dst]
	}
	a := w.v[in.a]
	switch in.op {
	case tileUnary:
		unaryKernels[in.fn](dst, a)
	case tileVV:
		binaryKernels[in.fn].vv(dst, a, w.v[in.b])
	case tileVS:
		binaryKernels[in.fn].vs(dst, a, w.v[in.b][0])
	case tileSV:
		binaryKernels[in.fn].sv(dst, a[0], w.v[in.b])
	case tileVR:
		f, b := binaryKernels[in.fn].vs, w.v[in.b]
		for k := range nr {
			f(dst[k*nc:(k+1)*nc], a[k*nc:(k+1)*nc], b[k])
		}
	case tileRV:
		f, b := binaryKernels[in.fn].sv, w.v[in.b]
		for k := range nr {
			f(dst[k*nc:(k+1)*nc], a[k], b[k*nc:(k+1)*nc])
		}
	case tileVC:
		f, b := binaryKernels[in.fn].vv, w.v[in.b]
		for k := range nr {
			f(dst[k*nc:(k+1)*nc], a[k*nc:(k+1)*nc], b)
		}
	case tileCV:
		f, b := binaryKernels[in.fn].vv, w.v[in.b]
		for k := range nr {
			f(dst[k*nc:(k+1)*nc], a, b[k*nc:(k+1)*nc])
		}
	case tileSelect:
		selectVV(dst, a, w.v[in.b], w.v[in.c])
	case tileSpread:
		spread(dst, a, p.classes[in.a], p.classes[in.dst], nr, nc)
	case tileReduce:
		for k := range nr {
			dst[k] = reduceKernel(in.fn, a[k*nc:(k+1)*nc])
		}
	case tileCols:
		sums := w.cols[in.b]
		for k := range nr {
			addTo(sums, a[k*nc:(k+1)*nc])
		}
	case tileAll:
		w.all[in.b] = binaryFloat(in.fn, w.all[in.b], float64(reduceKernel(in.fn, a)))
	}
}

// spread repeats a narrower value over a tile, or a scalar over rows.
func spread(dst, a []float32, from, to class, nr, nc int) {
	switch {
	case from == classScalar:
		for i := range dst {
			dst[i] = a[0]
		}
	case from == classRow:
		for k := range nr {
			row := dst[k*nc : (k+1)*nc]
			for i := range row {
				row[i] = a[k]
			}
		}
	case from == classCol:
		for k := range nr {
			copy(dst[k*nc:(k+1)*nc], a)
		}
	}
}
