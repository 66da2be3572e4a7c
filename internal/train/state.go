package train

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
)

// The state of a trainer is what its next step depends on besides the batches: the number of steps done, the trained
// variables, both moments and the mean. It is written as the length of a JSON header (uint32, little-endian), the header, and
// the arrays as float32, little-endian, in the header's order. Frozen weights are not in it: they are the model's.

// stateHeader says what follows it.
type stateHeader struct {
	Step   int          `json:"step"`
	Arrays []stateArray `json:"arrays"`
}

type stateArray struct {
	Name string `json:"name"`
	Dims []int  `json:"dims"`
}

// maxStateHeader bounds the header of a state that is read.
const maxStateHeader = 64 << 20

// sets lists the groups of arrays of a state.
func (t *Trainer) sets() (names []string, arrays []*[]array) {
	weights := make([]array, len(t.trained))
	for k, i := range t.trained {
		weights[k] = t.vars[i]
	}
	names = []string{"weights", "first moments", "second moments"}
	arrays = []*[]array{&weights, &t.moments[0], &t.moments[1]}
	if t.mean != nil {
		names, arrays = append(names, "mean"), append(arrays, &t.mean)
	}
	return names, arrays
}

func (t *Trainer) stateHeader(names []string) stateHeader {
	h := stateHeader{Step: t.step}
	for _, set := range names {
		for _, v := range t.trainedVariables() {
			h.Arrays = append(h.Arrays, stateArray{set + " " + v.name, v.dims})
		}
	}
	return h
}

// Save writes the state. Training that goes on from it makes the same steps, bit for bit.
func (t *Trainer) Save(w io.Writer) error {
	names, sets := t.sets()
	header, err := json.Marshal(t.stateHeader(names))
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<20)
	if err := binary.Write(out, binary.LittleEndian, uint32(len(header))); err != nil {
		return err
	}
	if _, err := out.Write(header); err != nil {
		return err
	}
	for _, set := range sets {
		for _, b := range *set {
			values, err := download(b[0]) // the same on all devices
			if err != nil {
				return err
			}
			if err := writeFloats(out, values); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

// Load reads a state that Save wrote for the same model, losses and settings. After an error the trainer is as before.
func (t *Trainer) Load(r io.Reader) error {
	in := bufio.NewReaderSize(r, 1<<20)
	var n uint32
	if err := binary.Read(in, binary.LittleEndian, &n); err != nil {
		return fmt.Errorf("training state: %w", err)
	}
	if n > maxStateHeader {
		return fmt.Errorf("training state: header of %d bytes, the limit is %d", n, maxStateHeader)
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(in, raw); err != nil {
		return fmt.Errorf("training state: %w", err)
	}
	var h stateHeader
	if err := json.Unmarshal(raw, &h); err != nil {
		return fmt.Errorf("training state: %w", err)
	}
	names, sets := t.sets()
	want := t.stateHeader(names)
	if h.Step < 0 || !slices.EqualFunc(h.Arrays, want.Arrays, func(a, b stateArray) bool { return a.Name == b.Name && slices.Equal(a.Dims, b.Dims) }) {
		return fmt.Errorf("training state is of another model or other settings")
	}
	loaded := make([][]array, len(sets))
	for i := range sets {
		for _, v := range t.trainedVariables() {
			values, err := readFloats(in, v.shape().Size())
			if err != nil {
				return fmt.Errorf("training state, %s of %s: %w", names[i], v.name, err)
			}
			b, err := t.devices.replicate(values, v.dims...)
			if err != nil {
				return err
			}
			loaded[i] = append(loaded[i], b)
		}
	}
	for k, i := range t.trained {
		t.vars[i] = loaded[0][k]
	}
	t.step, t.moments = h.Step, [2][]array{loaded[1], loaded[2]}
	if t.mean != nil {
		t.mean = loaded[3]
	}
	return nil
}

func writeFloats(w io.Writer, values []float32) error {
	buf := make([]byte, 0, 64<<10)
	for len(values) > 0 {
		n := min(len(values), cap(buf)/4)
		buf = buf[:0]
		for _, v := range values[:n] {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}

func readFloats(r io.Reader, n int) ([]float32, error) {
	out := make([]float32, n)
	buf := make([]byte, 64<<10)
	for at := 0; at < n; {
		b := buf[:min(len(buf), 4*(n-at))]
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		for i := 0; i < len(b); i += 4 {
			out[at] = math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))
			at++
		}
	}
	return out, nil
}
