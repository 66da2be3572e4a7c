package model_test

import (
	"archive/zip"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
)

// TestProgramFiles opens the files that training programs wrote beside the Hugging Face directories that other hands made
// of them, and expects the same model.
func TestProgramFiles(t *testing.T) {
	root := tiny.Shared(t, "assets", "models")
	for _, file := range []string{"stories260K/source/stories260K.bin", "microlm-base-gpt2/source/model.pth", "slm4096-gpt2/source/ckpt.pt"} {
		got, err := model.Open(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		name, _, _ := strings.Cut(file, "/")
		same, err := model.Open(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		defer same.Close()
		sameModel(t, got, same)
		if name != "stories260K" {
			continue
		}
		tok, err := got.Tokenizer()
		if err != nil {
			t.Fatal(err)
		}
		ref, err := same.Tokenizer()
		if err != nil {
			t.Fatal(err)
		}
		const text = "Once upon a time, there was a bug 🐛 named Tim."
		want, err := ref.Encode(text, true)
		if err != nil {
			t.Fatal(err)
		}
		if ids, err := tok.Encode(text, true); err != nil || !slices.Equal(ids, want) {
			t.Errorf("the vocabulary beside the file gives %v (%v), the checkpoint's %v", ids, err, want)
		}
		for _, way := range []func(*testing.T, *model.Model) *model.Model{throughHF, throughGGUF} {
			back := way(t, got)
			sameModel(t, back, same)
			if tok, err = back.Tokenizer(); err != nil {
				t.Fatal(err)
			}
			if ids, err := tok.Encode(text, true); err != nil || !slices.Equal(ids, want) {
				t.Errorf("written again, the vocabulary gives %v (%v) instead of %v", ids, err, want)
			}
		}
	}
}

func throughGGUF(t *testing.T, m *model.Model) *model.Model {
	_, back := saveGGUF(t, m)
	return back
}

func throughHF(t *testing.T, m *model.Model) *model.Model {
	t.Helper()
	path := t.TempDir()
	if err := m.SaveHF(context.Background(), dir(path)); err != nil {
		t.Fatal(err)
	}
	back, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { back.Close() })
	return back
}

// TestTorchDirectory opens a Hugging Face directory whose weights are PyTorch archives, in one file and in two.
func TestTorchDirectory(t *testing.T) {
	want := models.Model(t, "gpt2", 1)
	path := t.TempDir()
	if err := want.SaveHF(context.Background(), dir(path)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(path, "model.safetensors")
	f, err := safetensors.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	ts := f.Tensors()
	half := len(ts) / 2
	archive := func(name string, ts []*tensor.Tensor) { writeArchive(t, filepath.Join(path, name), ts) }
	archive("pytorch_model.bin", ts)
	archive("one.bin", ts[:half])
	archive("two.bin", ts[half:])
	f.Close()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	check := func() {
		m, err := model.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		sameModel(t, m, want)
	}
	check()
	var index []string
	for i, x := range ts {
		index = append(index, fmt.Sprintf("%q:%q", x.Name, map[bool]string{true: "one.bin", false: "two.bin"}[i < half]))
	}
	text := `{"weight_map":{` + strings.Join(index, ",") + `}}`
	if err := os.WriteFile(filepath.Join(path, "pytorch_model.bin.index.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(path, "pytorch_model.bin")); err != nil {
		t.Fatal(err)
	}
	check()
}

// writeArchive writes float32 tensors as torch.save does: a pickle of protocol 2 and a file for each storage.
func writeArchive(t *testing.T, path string, ts []*tensor.Tensor) {
	t.Helper()
	text := func(s string) string {
		return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
	}
	number := func(n int) string { return "J" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }
	tuple := func(items ...string) string { return "(" + strings.Join(items, "") + "t" }
	const ordered = "ccollections\nOrderedDict\n)R"
	p := "\x80\x02" + ordered + "("
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	z := zip.NewWriter(out)
	put := func(name string, data []byte) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: "archive/" + name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, x := range ts {
		var shape, stride []string
		step := 1
		for j := len(x.Shape) - 1; j >= 0; j-- {
			shape = append([]string{number(x.Shape[j])}, shape...)
			stride = append([]string{number(step)}, stride...)
			step *= x.Shape[j]
		}
		storage := tuple(text("storage"), "ctorch\nFloatStorage\n", text(fmt.Sprint(i)), text("cpu"), number(step)) + "Q"
		p += text(x.Name) + "ctorch._utils\n_rebuild_tensor_v2\n" + tuple(storage, number(0), tuple(shape...), tuple(stride...), "\x89", ordered) + "R"
	}
	put("data.pkl", []byte(p+"u."))
	for i, x := range ts {
		put(fmt.Sprint("data/", i), raw(t, x))
	}
	put("version", []byte("3\n"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFileBytes counts the files that are read, not those that lie beside them.
func TestFileBytes(t *testing.T) {
	m := models.Model(t, "llama", 1)
	path := t.TempDir()
	if err := m.SaveHF(context.Background(), dir(path)); err != nil {
		t.Fatal(err)
	}
	size := func(name string) int64 {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	if err := os.WriteFile(filepath.Join(path, "pytorch_model.bin"), make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	back, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if got, want := back.FileBytes(), size(filepath.Join(path, "model.safetensors")); got != want {
		t.Errorf("%d bytes, want the %d of the file that is read", got, want)
	}
	file, g := saveGGUF(t, m)
	if got, want := g.FileBytes(), size(file); got != want {
		t.Errorf("%d bytes of GGUF, want %d", got, want)
	}
	if got := m.FileBytes(); got != m.Bytes() {
		t.Errorf("%d bytes of a model in memory, want %d", got, m.Bytes())
	}
}
