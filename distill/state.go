package distill

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// A state is the length of a JSON header (uint32, little-endian), the header, the best weights where patience keeps them, and
// the trainer's state. The place in the text follows from the number of steps. Two states are kept: the last, and the one
// before for the case that the last turns out damaged.

// progressState is the header.
type progressState struct {
	Report  Report   `json:"report"`
	Waited  int      `json:"waited"`
	Seconds float64  `json:"seconds"`
	HasBest bool     `json:"has_best"` // of the report: JSON has no NaN
	Best    []string `json:"best"`     // names of the best weights
	Formats []string `json:"formats"`
	Sizes   []int    `json:"sizes"` // in bytes
}

// bestWeight is a weight as it was at the best look.
type bestWeight struct {
	name   string
	format codec.Codec
	data   []byte
}

const statePrefix = "step-"

// maxState bounds the header of a state: the curves of millions of steps.
const maxState = 1 << 30

// weights copies the trained weights.
func (r *run) weights() ([]bestWeight, error) {
	tensors, err := r.t.Tensors()
	if err != nil {
		return nil, err
	}
	var out []bestWeight
	for _, w := range r.student.Graph.Weights {
		if t := tensors[w]; t != nil {
			data, err := t.ReadRaw(0, t.Rows())
			if err != nil {
				return nil, err
			}
			out = append(out, bestWeight{w.Name, t.Codec, data})
		}
	}
	return out, nil
}

// restore puts the best weights in the place of the last.
func restore(tensors map[*model.Weight]*tensor.Tensor, best []bestWeight) {
	for w := range tensors {
		for _, b := range best {
			if b.name == w.Name {
				tensors[w] = tensor.FromBytes(w.Name, b.format, w.Shape(), b.data)
			}
		}
	}
}

// save keeps the state of now.
func (r *run) save() error {
	if r.o.Checkpoints == nil {
		return nil
	}
	name := fmt.Sprintf("%s%010d", statePrefix, r.t.Steps())
	if err := r.o.Checkpoints.Save(name, r.write); err != nil {
		return err
	}
	names, err := r.states()
	if err != nil {
		return err
	}
	for len(names) > 2 {
		if err := r.o.Checkpoints.Delete(names[0]); err != nil {
			return err
		}
		names = names[1:]
	}
	return nil
}

// states lists the states, oldest first.
func (r *run) states() ([]string, error) {
	all, err := r.o.Checkpoints.List()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(n string) bool { return !strings.HasPrefix(n, statePrefix) })
	slices.Sort(all)
	return all, nil
}

func (r *run) write(w io.Writer) error {
	h := progressState{Report: *r.report, Waited: r.waited, Seconds: r.seconds, HasBest: !math.IsNaN(r.report.Best)}
	if !h.HasBest {
		h.Report.Best = 0
	}
	for _, b := range r.best {
		h.Best, h.Formats, h.Sizes = append(h.Best, b.name), append(h.Formats, b.format.Name()), append(h.Sizes, len(b.data))
	}
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(data)))); err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	for _, b := range r.best {
		if _, err := w.Write(b.data); err != nil {
			return err
		}
	}
	return r.t.Save(w)
}

// resume goes on from the last state that is whole.
func (r *run) resume() error {
	if r.o.Checkpoints == nil {
		return nil
	}
	names, err := r.states()
	if err != nil {
		return err
	}
	for _, name := range slices.Backward(names) {
		f, err := r.o.Checkpoints.Open(name)
		if err != nil {
			return err
		}
		if f == nil { // damaged
			continue
		}
		err = r.read(f)
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("checkpoint %s: %w", name, err)
		}
		r.report.Resumed = r.t.Steps()
		if r.o.Note != nil {
			r.o.Note(fmt.Sprintf("goes on after step %d", r.t.Steps()))
		}
		return nil
	}
	return nil
}

func (r *run) read(f io.Reader) error {
	var n uint32
	if err := binary.Read(f, binary.LittleEndian, &n); err != nil {
		return err
	}
	if n > maxState {
		return fmt.Errorf("header of %d bytes, the limit is %d", n, maxState)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(f, data); err != nil {
		return err
	}
	var h progressState
	if err := json.Unmarshal(data, &h); err != nil {
		return err
	}
	if len(h.Best) != len(h.Sizes) || len(h.Best) != len(h.Formats) {
		return fmt.Errorf("%d names, %d formats and %d sizes of the best weights", len(h.Best), len(h.Formats), len(h.Sizes))
	}
	var best []bestWeight
	for i, name := range h.Best {
		b, err := r.readBest(f, name, h.Formats[i], h.Sizes[i])
		if err != nil {
			return err
		}
		best = append(best, b)
	}
	if err := r.t.Load(f); err != nil {
		return err
	}
	r.report, r.waited, r.seconds, r.best = &h.Report, h.Waited, h.Seconds, best
	if !h.HasBest {
		r.report.Best = math.NaN()
	}
	return nil
}

// readBest reads one of the best weights.
func (r *run) readBest(f io.Reader, name, format string, size int) (b bestWeight, err error) {
	w := r.student.Graph.Weight(name)
	if w == nil {
		return b, fmt.Errorf("weight %s is not one of the student's", name)
	}
	c, err := codec.Lookup(format)
	if err != nil {
		return b, fmt.Errorf("weight %s: %w", name, err)
	}
	t := tensor.Tensor{Codec: c, Shape: w.Shape()}
	if err := t.Check(); err != nil || t.Bytes() != int64(size) {
		return b, fmt.Errorf("weight %s of %d bytes as %s is not one of the student's", name, size, format)
	}
	b = bestWeight{name, c, make([]byte, size)}
	_, err = io.ReadFull(f, b.data)
	return b, err
}
