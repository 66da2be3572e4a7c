package safetensors

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// buffer is a file in memory that grows.
type buffer struct {
	mu sync.Mutex
	b  []byte
}

func (f *buffer) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if need := int(off) + len(p); need > len(f.b) {
		f.b = append(f.b, make([]byte, need-len(f.b))...)
	}
	return copy(f.b[off:], p), nil
}

// rewrite copies an open checkpoint file through the writer, row by row from the last to the first.
func rewrite(t testing.TB, f *File) []byte {
	t.Helper()
	var infos []Info
	for _, x := range f.Tensors() {
		infos = append(infos, Info{x.Name, x.Codec, x.Shape})
	}
	out := &buffer{}
	w, err := NewWriter(out, infos, f.Metadata())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range f.Tensors() {
		for r := x.Rows() - 1; r >= 0; r-- {
			row, err := x.ReadRaw(r, r+1)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.WriteRows(x.Name, r, row); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if int64(len(out.b)) != w.Size() {
		t.Fatalf("wrote %d bytes, Size is %d", len(out.b), w.Size())
	}
	return out.b
}

// TestSharedRoundTrip reads every file that the reference library wrote and writes it again to the same bytes.
func TestSharedRoundTrip(t *testing.T) {
	n := 0
	for _, root := range []string{tiny.Shared(t, "golden"), tiny.Shared(t, "assets", "models")} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".safetensors" {
				return err
			}
			n++
			f, err := Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			want, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if !bytes.Equal(rewrite(t, f), want) {
				t.Errorf("%s: written again, it differs", path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 50 {
		t.Errorf("only %d files", n)
	}
}

// TestSharedShards opens a sharded checkpoint and compares it with the same weights in one file.
func TestSharedShards(t *testing.T) {
	for _, name := range []string{"llama", "gemma"} {
		one, err := OpenDir(tiny.Shared(t, "golden", "arch", name))
		if err != nil {
			t.Fatal(err)
		}
		defer one.Close()
		dir := tiny.Shared(t, "golden", "arch", name, "bf16_sharded")
		sharded, err := OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer sharded.Close()
		if len(sharded.Tensors()) != len(one.Tensors()) || len(sharded.Files()) != 2 {
			t.Fatalf("%d tensors in %v, want %d in two files", len(sharded.Tensors()), sharded.Files(), len(one.Tensors()))
		}
		bf16, _ := codec.Lookup("bf16")
		for _, x := range one.Tensors() {
			y, ok := sharded.Tensor(x.Name)
			if !ok {
				t.Fatalf("no %s", x.Name)
			}
			r, err := tensor.Convert(x, bf16)
			if err != nil {
				t.Fatal(err)
			}
			want, err := r.ReadRaw(0, r.Rows())
			if err != nil {
				t.Fatal(err)
			}
			got, err := y.ReadRaw(0, y.Rows())
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: not the float32 weights rounded to bf16", x.Name)
			}
		}
		// The index of the same distribution has the same bytes.
		want, err := os.ReadFile(filepath.Join(dir, IndexName))
		if err != nil {
			t.Fatal(err)
		}
		shards := map[string]*Shard{}
		for i, path := range sharded.Files() {
			shards[path] = &Shard{File: filepath.Base(path)}
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range f.Tensors() {
				shards[path].Infos = append(shards[path].Infos, Info{x.Name, x.Codec, x.Shape})
				shards[path].Bytes += x.Bytes()
			}
			f.Close()
			_ = i
		}
		var list []Shard
		for _, path := range sharded.Files() {
			list = append(list, *shards[path])
		}
		if got := Index(list); !bytes.Equal(got, want) {
			t.Errorf("index:\n%s\nwant:\n%s", got, want)
		}
	}
}

func TestOpenDirEmpty(t *testing.T) {
	if _, err := OpenDir(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty directory: %v", err)
	}
}
