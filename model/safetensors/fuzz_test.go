package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/parelm/pare/model/internal/container"
	"github.com/parelm/pare/model/tensor"
)

// judge fails the test unless err is nil or typed.
func judge(t *testing.T, err error) {
	var fe *tensor.FileError
	if err != nil && !errors.As(err, &fe) {
		t.Fatalf("not a FileError: %v", err)
	}
}

// FuzzHeader reads any header. What is accepted is JSON to the standard library too, and says the same when it is written
// again.
func FuzzHeader(f *testing.F) {
	for _, c := range badFiles {
		if len(c.data) > 8 && len(c.data) < 4096 {
			f.Add(c.data[8:], uint16(8))
		}
	}
	for _, c := range goodFiles {
		h, _, err := readHeader(bytes.NewReader(c.data), "seed", int64(len(c.data)))
		if err != nil {
			f.Fatal(err)
		}
		n := 0
		if len(h.entries) > 0 {
			n = int(h.entries[len(h.entries)-1].end)
		}
		f.Add(c.data[8:len(c.data)-n], uint16(n))
	}
	f.Fuzz(func(t *testing.T, data []byte, n uint16) {
		h, err := parseHeader(data, "x", int64(n))
		judge(t, err)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatal("accepted, but no JSON")
		}
		var infos []Info
		for _, e := range h.entries {
			infos = append(infos, Info{e.name, e.dtype.codec, e.shape})
		}
		meta := h.meta
		if meta == nil {
			meta = map[string]string{}
		}
		again, _, err := buildHeader(infos, meta)
		if err != nil {
			t.Fatalf("accepted, but cannot be written: %v", err)
		}
		h2, err := parseHeader(again[8:], "x", int64(n))
		if err != nil {
			t.Fatalf("written header refused: %v", err)
		}
		if len(h.meta)+len(h2.meta) > 0 && !reflect.DeepEqual(h.meta, h2.meta) || len(h.entries)+len(h2.entries) > 0 && !reflect.DeepEqual(h.entries, h2.entries) {
			t.Fatalf("written header differs:\n%v\n%v", h, h2)
		}
	})
}

// FuzzFile reads any bytes as a file. Every tensor of an accepted file reads, and all together are the file's data.
func FuzzFile(f *testing.F) {
	for _, c := range badFiles {
		if len(c.data) < 4096 {
			f.Add(c.data)
		}
	}
	for _, c := range goodFiles {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, off, err := readHeader(r, "x", int64(len(data)))
		judge(t, err)
		if err != nil {
			return
		}
		var all []byte
		for _, x := range h.tensors(r, off) {
			if _, err := x.Float32(); err != nil {
				t.Fatal(err)
			}
			b, err := x.ReadRaw(0, x.Rows())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		if !bytes.Equal(all, data[off:]) {
			t.Fatalf("tensors hold %d bytes, the file %d", len(all), len(data)-int(off))
		}
	})
}

// FuzzIndex reads any bytes as an index. Names of an accepted one stay in the directory.
func FuzzIndex(f *testing.F) {
	for _, name := range []string{IndexName} {
		f.Add([]byte(shards()[name]))
	}
	f.Add(index(`"a":"../x"`))
	f.Add(index(`"a":"s","b":"s"`))
	f.Add([]byte(`{"metadata":[1,-2.5e+3,"\u00e9",true,null,{"a":{}}],"weight_map":{"a":"b"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ix, err := container.ParseIndex(data, "x")
		judge(t, err)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatal("accepted, but no JSON")
		}
		for name, file := range ix.File {
			if !container.LocalName(file) || container.TensorName(name) != nil {
				t.Fatalf("tensor %q in file %q", name, file)
			}
		}
	})
}
