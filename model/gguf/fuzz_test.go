package gguf

import (
	"bytes"
	"errors"
	"testing"

	"github.com/parelm/pare/model/tensor"
)

// FuzzFile reads any bytes as a file. Every tensor of an accepted file reads; written again, the file says the same.
func FuzzFile(f *testing.F) {
	for _, c := range badFiles {
		if len(c.data) < 4096 {
			f.Add([]byte(c.data))
		}
	}
	for _, c := range goodFiles {
		if len(c.data) < 4096 {
			f.Add([]byte(c.data))
		}
	}
	f.Add(written(f, sample()))
	f.Add(written(f, model()))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parse(bytes.NewReader(data), "x", int64(len(data)))
		if err != nil {
			var fe *tensor.FileError
			if !errors.As(err, &fe) {
				t.Fatalf("not a FileError: %v", err)
			}
			return
		}
		h.meta.Check()
		var infos []Info
		for _, x := range h.tensors {
			if len(x.Name) > 63 {
				return // may be read, not written
			}
			infos = append(infos, Info{x.Name, x.Codec, x.Shape})
		}
		out := &buffer{}
		w, err := NewWriter(out, infos, &h.meta)
		if err != nil {
			t.Fatalf("accepted, but cannot be written: %v", err)
		}
		for _, x := range h.tensors {
			b, err := x.ReadRaw(0, x.Rows())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := x.Float32(); err != nil {
				t.Fatal(err)
			}
			if err := w.WriteRows(x.Name, 0, b); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		h2, err := parse(bytes.NewReader(out.b), "x", int64(len(out.b)))
		if err != nil {
			t.Fatalf("written file refused: %v", err)
		}
		// Metadata is compared as bytes: it may hold NaN.
		a, err := appendPairs(nil, 0, &h.meta)
		if err != nil {
			t.Fatal(err)
		}
		b, err := appendPairs(nil, 0, &h2.meta)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) || len(h.tensors) != len(h2.tensors) {
			t.Fatal("written file differs")
		}
		for i, x := range h.tensors {
			y := h2.tensors[i]
			xb, _ := x.ReadRaw(0, x.Rows())
			yb, err := y.ReadRaw(0, y.Rows())
			if err != nil || x.Name != y.Name || x.Codec != y.Codec || !bytes.Equal(xb, yb) {
				t.Fatalf("tensor %q differs", x.Name)
			}
		}
	})
}
