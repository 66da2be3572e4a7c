package simd

import "sync"

// Prompts on AMX: rows rounded to bfloat16 in the order that tiles are loaded in. 16 rows are a group; 32 columns of it are 1024 bytes,
// row after row. Weights are dequantized to bfloat16 on the way, which is dear for one row and nothing for hundreds, so matrices do
// this for activations that are said to be a prompt's, where rows are many and what they cost is multiplying, not reading.

// brainBlock is the bytes of 16 rows of 32 columns.
const brainBlock = 1024

// brainChunk is how many blocks of two tiles of weights stay in the first cache, with what 32 rows have beside them, while the rows meet them.
const brainChunk = 8

// promptActs is the form of Acts for this.
type promptActs struct {
	q  []byte
	gs int // distance of groups
}

func (p *promptActs) reset(rows, blocks int) {
	p.gs = blocks * brainBlock
	p.q = grow(p.q, (rows+tileRows16-1)/tileRows16*p.gs)
}

// put rounds row r.
func (p *promptActs) put(r int, x []float32) {
	group := p.q[r/tileRows16*p.gs+r%tileRows16*64:]
	for b := 0; len(x) > 0; b++ {
		n := min(len(x), blockCols)
		out := group[b*brainBlock:][:64]
		clear(out[2*n:])
		RoundBrains(out[:2*n], x[:n])
		x = x[n:]
	}
}

// PromptsFast reports whether a prompt's activations have a form of their own here (Tiled).
func PromptsFast() bool { return tiles && hasBrainDots }

// promptShapes are the operands of the instruction that sets the shapes of tiles, by the rows of activations.
var promptShapes = func() (shapes [2*tileRows16 + 1][64]byte) {
	for rows := 1; rows < len(shapes); rows++ {
		c := &shapes[rows]
		c[0] = 1
		set := func(tile, rows int) {
			if rows > 0 {
				c[16+2*tile], c[48+tile] = 64, byte(rows)
			}
		}
		upper := min(rows, tileRows16)
		for tile, n := range [...]int{upper, upper, rows - upper, rows - upper, upper, rows - upper, tileRows16, tileRows16} {
			set(tile, n)
		}
	}
	return shapes
}()

// promptScratch is weights of two tiles and the sums of all rows.
type promptScratch struct {
	w    []byte
	sums []float32
}

var promptScratches = sync.Pool{New: func() any { return &promptScratch{w: make([]byte, 2*rowsChunk*brainBlock)} }}

// promptPairs is how many pairs of tiles of weights meet a chunk of columns of the rows while it is in the second cache.
const promptPairs = 8

// pairRows is the rows of weights of a pair of tiles.
const pairRows = 2 * tileRows16

// mulPrompt multiplies n tiles from tile t on with all rows of x, both in bfloat16. A sum is one chain over blocks of 32 columns, in
// each of which the unit adds those of the even and those of the odd columns. Sums of a pair of tiles lie together until they are
// done: rows of dst that are a power of two apart would push each other out of the first cache.
func (m *Matrix) mulPrompt(dst []float32, ld int, x *Acts, t, n int, add bool) {
	s := scratches.Get().(*scratch)
	own := promptScratches.Get().(*promptScratch)
	rows := brainRows{x.prompt.q, 64, brainBlock, x.prompt.gs, x.rows}
	chunk := brainChunk
	if x.rows <= pairRows { // they meet weights once
		chunk = rowsChunk
	}
	for ; n > 0; t, n, dst = t+2*promptPairs, n-2*promptPairs, dst[min(len(dst), promptPairs*pairRows):] {
		pairs := min(promptPairs, (n+1)/2)
		own.sums = grow(own.sums, x.rows*pairs*pairRows)
		sums := func(p, r int) []float32 { return own.sums[(p*x.rows+r)*pairRows:][:min(pairRows, (n-2*p)*tileRows16)] }
		if add {
			for r := range x.rows {
				for p := range pairs {
					copy(sums(p, r), dst[r*ld+p*pairRows:])
				}
			}
		}
		for b := 0; b < x.blocks; b += rowsChunk {
			blocks := min(rowsChunk, x.blocks-b)
			for p := range pairs {
				w := m.promptWeights(s, own.w, t+2*p, min(2, n-2*p), b, blocks)
				if p+1 < pairs {
					w.ask(m, t+2*p+2, b, x.rows)
				} else {
					w.ask(m, t, b+blocks, x.rows)
				}
				for l := 0; l < blocks; l += chunk {
					w.mul(own.sums[p*x.rows*pairRows:][:x.rows*pairRows], pairRows, rows, l, min(chunk, blocks-l), 1, add || b+l > 0)
				}
			}
		}
		for r := range x.rows {
			for p := range pairs {
				copy(dst[r*ld+p*pairRows:], sums(p, r))
			}
		}
	}
	promptScratches.Put(own)
	scratches.Put(s)
}

// promptTiles is some blocks of one or two tiles of weights in bfloat16, the tiles step bytes apart, and where weights lie that are wanted
// next: two places, apart from each other, of which a step of the kernel asks for so many bytes.
type promptTiles struct {
	data  []byte
	tiles int
	step  int
	first int // the first block

	next         *byte
	apart, ahead int
}

// ask has the kernels fetch a chunk of two tiles from tile t and block b on while they multiply with so many rows.
func (w *promptTiles) ask(m *Matrix, t, b, rows int) {
	block := (m.tileBytes*blockCols + m.cols - 1) / m.cols // bytes, headers and all
	at := t*m.tileBytes + b*block
	if w.next = &m.data[0]; at < len(m.data) {
		w.next = &m.data[at]
	}
	w.apart = m.tileBytes
	w.ahead = (block/((rows+pairRows-1)/pairRows) + 63) &^ 63
}

// brainRows is rows of bfloat16: a group of 16, its rows and its blocks of 32 columns are some bytes from the next.
type brainRows struct {
	data              []byte
	row, block, group int
	n                 int
}

// mul adds the products with n blocks from l on to c, rows ld apart, or sets these. panels is how many times so many tiles there are.
func (w *promptTiles) mul(c []float32, ld int, x brainRows, l, n, panels int, add bool) {
	init := 0
	if add {
		init = 1
	}
	weights := w.data[l*brainBlock:][:(panels*w.tiles-1)*w.step+n*brainBlock]
	for r := 0; r < x.n; {
		acts, groups := 1, 1
		rows := min(x.n-r, pairRows)
		if rows > tileRows16 {
			acts = 2
		}
		if rows == pairRows {
			groups = (x.n - r) / rows
		}
		amxBrainKernel(acts, w.tiles, &c[r*ld], ld, &weights[0], w.step, &x.data[r/tileRows16*x.group+(w.first+l)*x.block], x.row, x.block, x.group, n, groups, panels, init,
			&promptShapes[rows][0], w.next, w.apart, w.ahead)
		r += rows * groups
	}
}

// promptWeights returns blocks [b,b+n) of some tiles from tile t on in bfloat16: in buf, or where they lie so already.
func (m *Matrix) promptWeights(s *scratch, buf []byte, t, tiles, b, n int) promptTiles {
	w := promptTiles{data: buf, tiles: tiles, step: rowsChunk * brainBlock, first: b}
	switch {
	case m.quant != nil:
		f := m.quant
		for i := range tiles {
			codes := m.tileCodes(s, t+i, b, n)
			brainWeightsKernel(f.kind.parts(), f.kind.affine(), &buf[i*w.step], &codes[0], &s.d[0], &s.m[0], n)
		}
	case (b+n)*blockCols <= m.cols:
		w.data, w.step = m.data[t*m.tileBytes+b*brainBlock:], m.tileBytes
	default:
		for i := range tiles {
			out := buf[i*w.step:][:n*brainBlock]
			clear(out[copy(out, m.tile(t + i)[b*brainBlock:]):])
		}
	}
	return w
}
