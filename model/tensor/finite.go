package tensor

import "fmt"

// CheckFinite reads the whole tensor and returns an error of class ErrCorrupt that names the first value that is NaN or
// infinite, as a damaged block scale makes it, or nil.
func (t *Tensor) CheckFinite() error {
	cols, rows := t.Cols(), t.Rows()
	step := chunkRows(4 * cols)
	buf := make([]float32, min(step, rows)*cols)
	for lo := 0; lo < rows; lo += step {
		hi := min(lo+step, rows)
		values := buf[:(hi-lo)*cols]
		if err := t.ReadFloat32(values, lo, hi); err != nil {
			return err
		}
		for i, v := range values {
			if v-v != 0 { // NaN or infinite
				return Errorf(ErrCorrupt, "", fmt.Sprintf("tensor %q", t.Name), "%s value %v in row %d, column %d", t.Codec.Name(), v, lo+i/cols, i%cols)
			}
		}
	}
	return nil
}
