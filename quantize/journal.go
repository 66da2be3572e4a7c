package quantize

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// Journal keeps files by plain names. What Save wrote is there as a whole or not at all, whatever happens.
type Journal interface {
	Save(name string, write func(w io.Writer) error) error
	// Open returns nil without an error where there is no file of that name, or only a damaged one.
	Open(name string) (JournalFile, error)
}

// JournalFile is an open file of a Journal. It stays open as long as the model that Run returns is read.
type JournalFile interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// JournalBytes is the size of a model from which on a journal is worth its writing: below, starting over costs seconds.
const JournalBytes = 64 << 20

// entry is the head of a finished matrix in the journal: its length in four bytes, this as JSON, then the rows.
type entry struct {
	Format string
	Shape  []int
	Report TensorReport
}

// keep takes a finished tensor into the result.
func (w *work) keep(wt *model.Weight, shape []int, c codec.Codec, data []byte, r TensorReport) error {
	if w.o.Journal == nil {
		w.tensors[wt] = tensor.FromBytes(wt.Name, c, shape, data)
		w.reports[wt] = r
		return nil
	}
	head, err := json.Marshal(entry{c.Name(), shape, r})
	if err != nil {
		return err
	}
	err = w.o.Journal.Save(wt.Name, func(out io.Writer) error {
		for _, b := range [][]byte{binary.LittleEndian.AppendUint32(nil, uint32(len(head))), head, data} {
			if _, err := out.Write(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	before := w.resumed
	done, err := w.resume(wt)
	w.resumed = before
	if err == nil && !done {
		err = fmt.Errorf("%s: the journal does not hold what was saved", wt.Name)
	}
	return err
}

// resume takes a weight from the journal, where it is there.
func (w *work) resume(wt *model.Weight) (bool, error) {
	if w.o.Journal == nil {
		return false, nil
	}
	f, err := w.o.Journal.Open(wt.Name)
	if f == nil || err != nil {
		return false, err
	}
	var size [4]byte
	if _, err := f.ReadAt(size[:], 0); err != nil {
		return false, err
	}
	n := int64(binary.LittleEndian.Uint32(size[:]))
	if n > f.Size()-4 {
		return false, fmt.Errorf("%s: the journal is damaged", wt.Name)
	}
	head := make([]byte, n)
	if _, err := f.ReadAt(head, 4); err != nil {
		return false, err
	}
	var e entry
	if err := json.Unmarshal(head, &e); err != nil {
		return false, fmt.Errorf("%s: the journal is damaged: %w", wt.Name, err)
	}
	c, err := codec.Lookup(e.Format)
	if err != nil {
		return false, err
	}
	t := tensor.FromFile(wt.Name, c, e.Shape, f, 4+n)
	if t.Bytes() != f.Size()-4-n {
		return false, fmt.Errorf("%s: the journal holds %d bytes, %v of %s are %d", wt.Name, f.Size()-4-n, e.Shape, e.Format, t.Bytes())
	}
	w.open = append(w.open, f)
	w.tensors[wt] = t
	if w.todo[wt] != nil {
		w.reports[wt] = e.Report
		w.resumed++
	}
	return true, nil
}
