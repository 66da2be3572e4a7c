package simd

import "unsafe"

// Packing of whole tiles with kernels, where there are some (gen/rowpack.go): 16 rows at a time, several times faster than
// the functions of matrix_pack.go, with the same bytes.

// packTile stores the 16 rows of tile t, or reports that this is left to the functions for single rows.
func (m *Matrix) packTile(t int, src []byte) bool {
	if !impl.x86() {
		return false
	}
	if m.quant == nil {
		return m.packTileFloat(t, src)
	}
	f := m.quant
	if f.group.bits != 0 {
		return m.packTileGroups(t, src)
	}
	for b := 0; b < m.blocks; b += m.unit {
		if !packRows(f.name, &m.header(t, b)[0], &m.codes(t, b)[0], &src[b/f.section*f.bytes], m.rowBytes, min(m.unit, m.blocks-b)/f.section) {
			return false
		}
	}
	return true
}

// packTileFloat: columns that make no whole step of the kernel go one by one.
func (m *Matrix) packTileFloat(t int, src []byte) bool {
	const step = 16 // bytes of a row
	var dst *byte
	if m.float == F32 {
		dst = (*byte)(unsafe.Pointer(&m.values[t*tileRows16*m.cols]))
	} else {
		dst = &m.tile(t)[0]
	}
	steps := m.rowBytes / step
	packRows(m.format, dst, dst, &src[0], m.rowBytes, steps)
	if done := steps * step * m.cols / m.rowBytes; done < m.cols {
		for i := range tileRows16 {
			m.packFloat(t*tileRows16+i, src[i*m.rowBytes:][:m.rowBytes], done)
		}
	}
	return true
}

// packTileGroups: scales one by one, codes group by group.
func (m *Matrix) packTileGroups(t int, src []byte) bool {
	f := m.quant
	size, bytes, sections := f.values, f.bytes, 1
	if size == 0 {
		size, bytes = m.cols, m.rowBytes
	} else {
		sections = m.cols / size
	}
	if size%blockCols != 0 || f.group.bits == 8 && f.group.offset {
		return false
	}
	kernel, head := "f32", bytes-size*f.group.bits/8
	if f.group.bits == 4 {
		kernel = "nibbles"
	}
	for s := range sections {
		h, c, b := m.header(t, s*size/blockCols), m.codes(t, s*size/blockCols), src[s*bytes:]
		for lane := range tileRows16 {
			f.packHead(h, lane, b[lane*m.rowBytes:])
		}
		packRows(kernel, &c[0], &c[0], &b[head], m.rowBytes, size*f.group.bits/8/16)
	}
	return true
}
