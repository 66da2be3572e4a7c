package torch

import (
	"bytes"
	"errors"
	"testing"

	"github.com/parelm/pare/model/tensor"
)

func judge(t *testing.T, err error) {
	var fe *tensor.FileError
	if err != nil && !errors.As(err, &fe) {
		t.Fatalf("not a FileError: %v", err)
	}
}

// FuzzPickle interprets any bytes and looks for weights in what comes out.
func FuzzPickle(f *testing.F) {
	for _, c := range badPickles {
		if len(c.data) < 4096 {
			f.Add(c.data)
		}
	}
	f.Add(small())
	f.Fuzz(func(t *testing.T, data []byte) {
		a := &archive{r: bytes.NewReader(make([]byte, 64)), path: "x", size: 64, storages: map[string]span{"0": {0, 64}}}
		v, err := unpickle(data, "x")
		judge(t, err)
		if err != nil {
			return
		}
		notes(v, "", 1, map[string]any{})
		d, err := stateDict(v, "x")
		judge(t, err)
		if err != nil {
			return
		}
		list, err := a.weights(d)
		judge(t, err)
		for _, x := range list {
			if x.Bytes() > 1<<20 {
				continue // repeated rows may make much of little
			}
			if _, err := x.Float32(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzArchive opens any bytes as an archive.
func FuzzArchive(f *testing.F) {
	f.Add(saved(small(), 4).zip(f))
	f.Add(append(saved(small(), 4), [2]string{"archive/../x", "y"}).zip(f))
	f.Add([]byte("PK\x03\x04"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, _, err := read(bytes.NewReader(data), "x", int64(len(data)))
		judge(t, err)
		for _, x := range list {
			if x.Bytes() > 1<<20 {
				continue
			}
			if _, err := x.Float32(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzLlama2C opens any bytes as a llama2.c file.
func FuzzLlama2C(f *testing.F) {
	f.Add(binFile(0, dims, true, 0, 4*(dimMatrices+dimNorms+dimRotation)))
	f.Add(binFile(1, dims, false, 0, 4*(dimMatrices+40+dimNorms)))
	f.Add(binFile(2, dims, true, 4, dimMatrices*2+4*dimNorms))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := &bin{r: bytes.NewReader(data), path: "x", size: int64(len(data))}
		err := b.parse()
		judge(t, err)
		if err != nil {
			return
		}
		for _, x := range b.tensors {
			if _, err := x.ReadRaw(0, x.Rows()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
