package runtime

import "github.com/parelm/pare/internal/simd"

// Attention in bfloat16: queries, the keys and values of a page, whatever the cache holds, and the exponentials of its scores are rounded to
// it, sums are float32. A page is made ready once for all rows of a task. For those who write text (RoundFast), of prompts where tiles multiply them
// (see Session.Prompt), and over a cache of floats of all tokens where pairs of bfloat16 are multiplied faster than floats.

// brainDim is how many dimensions keys must have: narrower ones would be mostly padding. Tests change it.
var brainDim = 32

// brainRows is how many rows meet a page together: tiles take more, since setting their shapes takes a while.
func brainRows() int {
	if simd.BrainsFast() {
		return 48
	}
	return 128
}

// brainPage is the rows of a task and a page of one head.
type brainPage struct {
	q, p         []byte // rows of bfloat16: queries, exponentials
	keys, values []byte // panels of 16 keys, of 16 dimensions
	blocks       int    // of 32 dimensions of a key
	pad          int    // dimensions of a value
}

// begin takes queries in.
func (t *brainPage) begin(spec *cacheSpec, q []float32, rows int) {
	panelBytes := simd.BrainPanelBytes(spec.keyDim)
	t.blocks, t.pad = panelBytes/simd.BrainPanelBytes(1), spec.valuePad
	row := 64 * t.blocks
	t.q, t.p = sized(&t.q, rows*row), sized(&t.p, brainRows()*2*pageKeys)
	t.keys, t.values = sized(&t.keys, pageKeys/panel*panelBytes), sized(&t.values, spec.valuePad/panel*simd.BrainPanelBytes(pageKeys))
	if row == 2*spec.keyDim {
		simd.RoundBrains(t.q, q)
		return
	}
	clear(t.q)
	for r := range rows {
		simd.RoundBrains(t.q[r*row:][:2*spec.keyDim], q[r*spec.keyDim:][:spec.keyDim])
	}
}

// load makes the first n positions of a page ready, and asks for the next one. Those behind them count as values of zero, and as keys that
// somebody hides.
func (t *brainPage) load(spec *cacheSpec, p, next []byte, head, n int) {
	keySize, valueSize := len(t.keys)/(pageKeys/panel), simd.BrainPanelBytes(pageKeys)
	if spec.kind == cacheQ80 {
		b := spec.bytes(p, head)
		for i := range pageKeys / panel {
			simd.BytePanelColumns(t.keys[i*keySize:], b.keys[i*panel*spec.keyDim:], b.kd[i*panel:], pageKeys, spec.keyDim)
		}
		for i := range spec.valuePad / panel {
			simd.BytePanelRows(t.values[i*valueSize:][:valueSize], b.values[i*panel*pageKeys:], b.vd[i*panel/32*pageKeys:], n)
		}
		return
	}
	keys, values := spec.stored(p, head)
	nextKeys, nextValues := spec.stored(next, head)
	value := len(values) / spec.headValues() // bytes of one
	simd.BrainPanels(t.keys, keySize, simd.FloatRows{Format: floatFormats[spec.kind], Data: keys, Step: panel * value, Between: panel * spec.keyDim * value,
		Rows: spec.keyDim, Panels: pageKeys / panel}, nextKeys)
	simd.BrainPanels(t.values, valueSize, simd.FloatRows{Format: floatFormats[spec.kind], Data: values, Step: spec.valuePad * value, Between: panel * value,
		Rows: n, Panels: spec.valuePad / panel}, nextValues)
}

// scores multiplies n queries from row at on with the keys.
func (t *brainPage) scores(s []float32, at, n int) {
	row := 64 * t.blocks
	simd.MulBrainPanels(s, pageKeys, t.q[at*row:], row, n, t.keys, pageKeys/panel, t.blocks, false)
}

// sums adds the values times n rows of exponentials to o.
func (t *brainPage) sums(o, s []float32, n int) {
	simd.RoundBrains(t.p[:2*n*pageKeys], s[:n*pageKeys])
	simd.MulBrainPanels(o, t.pad, t.p, 2*pageKeys, n, t.values, t.pad/panel, simd.BrainPanelBytes(pageKeys)/simd.BrainPanelBytes(1), true)
}
