package model

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
)

// Sink is where a checkpoint is written: a directory that appears as a whole or not at all.
type Sink interface {
	Create(name string) (SinkFile, error)
}

// SinkFile is one file of a Sink. Rows are written at their places, in any order.
type SinkFile interface {
	io.WriterAt
	io.Closer
}

// shardBytes is Hugging Face's usual size of one safetensors file.
const shardBytes = 5_000_000_000

// As returns the model with its matrices and embeddings stored as the given format, converted when they are read;
// vectors keep their own format, or follow where both are plain floats. Converting a quantized model to another
// quantized format would lose twice and is refused.
func (m *Model) As(format string) (*Model, error) {
	c, err := codec.Lookup(format)
	if err != nil {
		return nil, err
	}
	changed := map[*Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		t := m.tensors[w]
		if w.Role == RoleVector && !isFloat(c) || t.Codec == c {
			continue
		}
		if !isFloat(t.Codec) && !isFloat(c) {
			return nil, tensor.Errorf(ErrInvalid, m.Path, fmt.Sprintf("tensor %q", w.Name),
				"is already quantized as %s: quantizing it again as %s would lose twice", t.Codec.Name(), format)
		}
		if changed[w], err = tensor.Convert(t, c); err != nil {
			return nil, tensor.Errorf(ErrUnsupported, m.Path, fmt.Sprintf("tensor %q", w.Name), "%v", err)
		}
	}
	return m.With(changed), nil
}

// SaveHF writes the model as a Hugging Face directory: config.json, safetensors in files of about 5 GB, and every
// tokenizer and generation file as it was.
func (m *Model) SaveHF(ctx context.Context, sink Sink) error {
	if err := m.unadapted(); err != nil {
		return err
	}
	conf, err := m.Config.configJSON()
	if err != nil {
		return err
	}
	if m.side.meta != nil {
		if m, err = m.narrow(); err != nil {
			return err
		}
	}
	stored, err := m.stored(hfSlots(m.Graph, m.Config.Family))
	if err != nil {
		return err
	}
	if m.gptq {
		stored, err = gptqPacked(stored, conf)
	} else {
		stored, err = packed(stored, conf, m.activations)
	}
	if err != nil {
		return err
	}
	if q := conf.raw("quantization_config"); m.gptq && q != nil { // where AutoGPTQ itself looks
		if err := writeFile(sink, "quantize_config.json", q); err != nil {
			return err
		}
	}
	if name := dtypes[m.common(RoleMatrix)]; name != "" {
		key := "torch_dtype"
		if conf.has("dtype") {
			key = "dtype"
		}
		if conf.text(key) != name {
			conf.set(key, name)
		}
	}
	if err := m.side.copy(sink); err != nil {
		return err
	}
	if err := writeFile(sink, "config.json", conf.bytes()); err != nil {
		return err
	}
	return writeSafetensors(ctx, sink, stored)
}

// narrow stores the vectors of a model from a GGUF file, which are float32 there, in the type of its matrices again where
// that loses nothing.
func (m *Model) narrow() (*Model, error) {
	c, err := codec.Lookup(m.common(RoleMatrix))
	if err != nil || !isFloat(c) {
		return m, err
	}
	changed := map[*Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		t := m.tensors[w]
		if t.Codec == c || !isFloat(t.Codec) {
			continue
		}
		v, err := t.Float32()
		if err != nil {
			return nil, err
		}
		n, err := tensor.Convert(t, c)
		if err != nil {
			return nil, err
		}
		back, err := n.Float32()
		if err != nil {
			return nil, err
		}
		if slices.Equal(v, back) {
			changed[w] = n
		}
	}
	return m.With(changed), nil
}

// dtypes are torch's names of plain formats.
var dtypes = map[string]string{"f32": "float32", "f16": "float16", "bf16": "bfloat16"}

// common returns the format of most weights of a role.
func (m *Model) common(role Role) string {
	count, best := map[string]int{}, ""
	for _, w := range m.Graph.Weights {
		if w.Role == role {
			count[m.tensors[w].Codec.Name()] += w.Len()
		}
	}
	for _, n := range sortedKeys(count) {
		if best == "" || count[n] > count[best] {
			best = n
		}
	}
	return best
}

// stored returns the tensors of a dialect, as views.
func (m *Model) stored(slots []slot) ([]*tensor.Tensor, error) {
	out := make([]*tensor.Tensor, 0, len(slots))
	for i := range slots {
		s := &slots[i]
		ws := make([]*tensor.Tensor, len(s.weights))
		for j, w := range s.weights {
			ws[j] = m.tensors[w]
		}
		t, err := s.join(ws)
		if err != nil {
			return nil, tensor.Errorf(ErrUnsupported, m.Path, fmt.Sprintf("tensor %q", s.name), "%v", err)
		}
		out = append(out, t)
	}
	return out, nil
}

func writeSafetensors(ctx context.Context, sink Sink, ts []*tensor.Tensor) error {
	infos := make([]safetensors.Info, len(ts))
	byName := map[string]*tensor.Tensor{}
	var total int64
	for i, t := range ts {
		infos[i] = safetensors.Info{Name: t.Name, Codec: t.Codec, Shape: t.Shape}
		byName[t.Name] = t
		total += t.Bytes()
	}
	shards, err := safetensors.Plan(infos, shardBytes)
	if err != nil {
		return err
	}
	task := progress.Start(ctx, "write", "B", total)
	defer task.Done()
	for _, s := range shards {
		f, err := sink.Create(s.File)
		if err != nil {
			return err
		}
		w, err := safetensors.NewWriter(f, s.Infos, nil)
		if err != nil {
			return err
		}
		if plan, ok := f.(*sizeFile); ok {
			plan.grow(w.Size())
			if err := f.Close(); err != nil {
				return err
			}
			continue
		}
		for _, in := range s.Infos {
			if err := copyRows(ctx, byName[in.Name], task, func(row int, data []byte) error { return w.WriteRows(in.Name, row, data) }); err != nil {
				return err
			}
		}
		if err := w.Finish(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	if len(shards) > 1 {
		return writeFile(sink, safetensors.IndexName, safetensors.Index(shards))
	}
	return nil
}

// copyBytes is how much of a tensor one task copies.
const copyBytes = 2 << 20

// copyBuffers keep their memory: a fresh buffer for each chunk costs as much as reading it.
var copyBuffers = sync.Pool{New: func() any { return new([]byte) }}

// copyRows reads all rows of a tensor, several chunks at a time, and hands them to write.
func copyRows(ctx context.Context, t *tensor.Tensor, task progress.Task, write func(row int, data []byte) error) error {
	rb := t.RowBytes()
	var mu sync.Mutex
	var first error
	par.For(t.Rows(), max(1, copyBytes/max(rb, 1)), func(lo, hi int) {
		mu.Lock()
		stop := first != nil
		mu.Unlock()
		if stop {
			return
		}
		err := ctx.Err()
		if err == nil {
			held := copyBuffers.Get().(*[]byte)
			defer copyBuffers.Put(held)
			if cap(*held) < (hi-lo)*rb {
				*held = make([]byte, (hi-lo)*rb)
			}
			buf := (*held)[:(hi-lo)*rb]
			if err = t.Src.ReadRows(buf, lo, hi); err == nil {
				if err = t.CheckRaw(lo, buf); err == nil {
					err = write(lo, buf)
				}
			}
			task.Add(int64(len(buf)))
		}
		if err != nil {
			mu.Lock()
			if first == nil {
				first = err
			}
			mu.Unlock()
		}
	})
	return first
}

func writeFile(sink Sink, name string, data []byte) error {
	f, err := sink.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Close()
}
