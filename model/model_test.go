package model_test

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/reference"
	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/gguf"
	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
)

// dir is a Sink on a plain directory.
type dir string

func (d dir) Create(name string) (model.SinkFile, error) {
	return os.Create(filepath.Join(string(d), name))
}

var ids = []int32{3, 17, 99, 4, 4, 56, 23, 8, 71, 64, 2, 90}

func logits(t *testing.T, m *model.Model) []float64 {
	t.Helper()
	trace, err := reference.Run(m.Graph, func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }, ids)
	if err != nil {
		t.Fatal(err)
	}
	return trace[m.Graph.Logits.ID]
}

func raw(t *testing.T, x *tensor.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := x.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sameModel(t *testing.T, got, want *model.Model) {
	t.Helper()
	if got.Graph.String() != want.Graph.String() {
		t.Fatalf("graph changed:\n%s\nwant\n%s", got.Graph, want.Graph)
	}
	for i, w := range want.Graph.Weights {
		if !bytes.Equal(raw(t, want.Tensor(w)), raw(t, got.Tensor(got.Graph.Weights[i]))) {
			t.Errorf("%s changed", w.Name)
		}
	}
}

// TestFamilies checks what must hold for every family, so that a new one needs no test of its own.
func TestFamilies(t *testing.T) {
	for _, name := range models.Names() {
		t.Run(name, func(t *testing.T) {
			m := models.Model(t, name, 1)
			t.Run("hf round trip", func(t *testing.T) {
				path := t.TempDir()
				if err := m.SaveHF(context.Background(), dir(path)); err != nil {
					t.Fatal(err)
				}
				back, err := model.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer back.Close()
				sameModel(t, back, m)
				size, err := m.Outline(m.Config).SizeHF(context.Background())
				if err != nil || size != dirBytes(t, path) {
					t.Errorf("planned %d bytes (%v), wrote %d", size, err, dirBytes(t, path))
				}
			})
			t.Run("gguf round trip", func(t *testing.T) { testGGUF(t, m) })
			t.Run("folds", func(t *testing.T) { testFolds(t, m) })
			t.Run("axes", func(t *testing.T) { testAxes(t, m) })
			t.Run("layers", func(t *testing.T) { testLayers(t, m) })
		})
	}
}

// testFolds moves a scale through every fold and expects the same logits.
func testFolds(t *testing.T, m *model.Model) {
	want := logits(t, m)
	for _, f := range m.Graph.Folds() {
		scale := make([]float32, f.Channels.Size())
		for i := range scale {
			scale[i] = 0.5 + float32(i%7)/4
		}
		changed := map[*model.Weight]*tensor.Tensor{}
		for _, w := range f.Before {
			v, err := m.Tensor(w).Float32()
			if err != nil {
				t.Fatal(err)
			}
			per := len(v) / len(scale)
			plus := float32(0)
			if f.PlusOne && w == f.Before[0] { // a shift is a shift
				plus = 1
			}
			for i := range v {
				v[i] = (v[i]+plus)/scale[i/per] - plus
			}
			changed[w] = tensor.FromFloat32(w.Name, w.Shape(), v)
		}
		for _, w := range f.After {
			v, err := m.Tensor(w).Float32()
			if err != nil {
				t.Fatal(err)
			}
			cols, head := w.Shape()[1], f.Channels.Block
			for i := range v {
				c := i % cols
				v[i] *= scale[c/head/f.Repeat*head+c%head]
			}
			changed[w] = tensor.FromFloat32(w.Name, w.Shape(), v)
		}
		got := logits(t, m.With(changed))
		for i := range want {
			if math.Abs(got[i]-want[i]) > 1e-4 {
				t.Fatalf("moving a scale from %s to %s changes logit %d from %v to %v", f.Before[0].Name, f.After[0].Name, i, want[i], got[i])
			}
		}
	}
}

// testAxes cuts every axis that can shrink, and checks that dropping units whose weights are zero changes nothing.
func testAxes(t *testing.T, m *model.Model) {
	for _, a := range m.Graph.Axes {
		heads := a.Kind == model.AxisHeads || a.Kind == model.AxisKVHeads
		if !heads && a.Kind != model.AxisFFN || !a.Shrinkable() || heads && m.Config.Layers[a.Layer].QKNorm == "full" {
			continue // a norm over all heads hears the silent ones
		}
		keep, drop := half(a)
		if len(keep) == 0 {
			continue
		}
		zeroed := zero(t, m, a, drop)
		want := logits(t, zeroed)
		small, err := zeroed.Shrink(model.Selection{a.Name: keep})
		if err != nil {
			t.Fatalf("%s: %v", a.Name, err)
		}
		if small.Graph.Parameters() >= m.Graph.Parameters() {
			t.Errorf("%s: still %d parameters", a.Name, small.Graph.Parameters())
		}
		got := logits(t, small)
		for i := range want {
			if math.Abs(got[i]-want[i]) > 1e-6 {
				t.Fatalf("dropping silent units of %s changes logit %d from %v to %v", a.Name, i, want[i], got[i])
			}
		}
	}
}

// half splits the units of an axis into those kept and those dropped: every second one, or every second of each group.
func half(a *model.Axis) (keep, drop []int) {
	per := a.Size
	if a.Group != nil {
		per = a.Size / a.Group.Size
	}
	if per < 2 {
		return nil, nil
	}
	for u := range a.Size {
		if u%per%2 == 0 {
			keep = append(keep, u)
		} else {
			drop = append(drop, u)
		}
	}
	return keep, drop
}

// zero silences units of an axis: the matrix columns that read them become 0.
func zero(t *testing.T, m *model.Model, a *model.Axis, units []int) *model.Model {
	drop := map[int]bool{}
	for _, u := range units {
		drop[u] = true
	}
	changed := map[*model.Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		last := w.Dims[len(w.Dims)-1]
		reads := last.Axis == a || a.Kind == model.AxisKVHeads && last.Axis.Group == a
		if len(w.Dims) < 2 || !reads {
			continue
		}
		v, err := m.Tensor(w).Float32()
		if err != nil {
			t.Fatal(err)
		}
		per := last.Size() / a.Size
		for i := range v {
			if drop[i%last.Size()/per] {
				v[i] = 0
			}
		}
		changed[w] = tensor.FromFloat32(w.Name, w.Shape(), v)
	}
	return m.With(changed)
}

// testLayers drops a layer and checks that the rest is the old layers in order.
func testLayers(t *testing.T, m *model.Model) {
	var keep []int
	for i := range m.Config.Layers {
		if i != 1 {
			keep = append(keep, i)
		}
	}
	small, err := m.KeepLayers(keep)
	if err != nil {
		t.Fatal(err)
	}
	if len(small.Config.Layers) != len(keep) {
		t.Fatalf("%d layers, want %d", len(small.Config.Layers), len(keep))
	}
	logits(t, small)
	path := t.TempDir()
	if err := small.SaveHF(context.Background(), dir(path)); err != nil {
		t.Fatal(err)
	}
	back, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	sameModel(t, back, small)
}

// TestGoldenFiles writes the reference checkpoints, as they are and by way of GGUF, and expects their tensors under the
// same names, bit for bit.
func TestGoldenFiles(t *testing.T) {
	root := tiny.Shared(t, "golden", "arch")
	for _, name := range append(models.Names(), "llama/bf16_sharded", "gemma/bf16_sharded") {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			continue // a family without reference data
		}
		m, err := model.Open(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		path := t.TempDir()
		if err := m.SaveHF(context.Background(), dir(path)); err != nil {
			t.Fatal(err)
		}
		compareFiles(t, filepath.Join(root, name), path)
		_, back := saveGGUF(t, m)
		path = t.TempDir()
		if err := back.SaveHF(context.Background(), dir(path)); err != nil {
			t.Fatal(err)
		}
		compareFiles(t, filepath.Join(root, name), path)
		m.Close()
	}
}

func compareFiles(t *testing.T, want, got string) {
	t.Helper()
	a, err := safetensors.OpenDir(want)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := safetensors.OpenDir(got)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if len(a.Tensors()) != len(b.Tensors()) {
		t.Errorf("%s: %d tensors became %d", want, len(a.Tensors()), len(b.Tensors()))
	}
	for _, x := range a.Tensors() {
		y, ok := b.Tensor(x.Name)
		if !ok {
			t.Errorf("%s: %s is gone", want, x.Name)
			continue
		}
		if !slices.Equal(x.Shape, y.Shape) || !bytes.Equal(raw(t, x), raw(t, y)) {
			t.Errorf("%s: %s %v changed, now %v", want, x.Name, x.Shape, y.Shape)
		}
	}
}

// saveGGUF writes a model as GGUF and opens it.
func saveGGUF(t *testing.T, m *model.Model) (path string, back *model.Model) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "model.gguf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SaveGGUF(context.Background(), f, model.GGUFOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	back, err = model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { back.Close() })
	return path, back
}

func dirBytes(t *testing.T, path string) int64 {
	t.Helper()
	var total int64
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += st.Size()
	}
	return total
}

func testGGUF(t *testing.T, m *model.Model) {
	path, back := saveGGUF(t, m)
	if size, err := m.SizeGGUF(context.Background(), model.GGUFOptions{}); err != nil || size != dirBytes(t, filepath.Dir(path)) {
		t.Errorf("planned %d bytes (%v), wrote %d", size, err, dirBytes(t, filepath.Dir(path)))
	}
	sameModel(t, back, m)
	hf := t.TempDir()
	if err := back.SaveHF(context.Background(), dir(hf)); err != nil {
		t.Fatal(err)
	}
	again, err := model.Open(hf)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	sameModel(t, again, m)

	// Without the kept config.json, as llama.cpp's converter writes files, the metadata must say the same.
	switch c := m.Config; c.Family.Name {
	case "opt", "rwkv", "gptj": // not architectures of llama.cpp
		return
	case "gemma2", "gemma3": // the metadata has no room for this scale of scores, which no published model has
		return
	case "falcon", "qwen2": // nor for Falcon-RW, nor for windows that begin at some layer
		if c.Layers[0].Alibi != nil || c.Layers[len(c.Layers)-1].Window > 0 {
			return
		}
	}
	foreign := stripGGUF(t, path)
	other, err := model.Open(foreign)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	want, got := logits(t, m), logits(t, other)
	for i := range want {
		if math.Abs(want[i]-got[i]) > 1e-4 {
			t.Fatalf("read from metadata alone, logit %d is %v instead of %v", i, got[i], want[i])
		}
	}
}

// stripGGUF copies a file without pare's own keys, and with the changes to the others.
func stripGGUF(t *testing.T, path string, change ...func(*gguf.Metadata)) string {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	meta := f.Metadata()
	var own []string
	for k := range meta.All() {
		if strings.HasPrefix(k, "pare.") {
			own = append(own, k)
		}
	}
	for _, k := range own {
		meta.Delete(k)
	}
	for _, f := range change {
		f(meta)
	}
	var infos []gguf.Info
	for _, x := range f.Tensors() {
		infos = append(infos, gguf.Info{Name: x.Name, Codec: x.Codec, Shape: x.Shape})
	}
	out := filepath.Join(t.TempDir(), "foreign.gguf")
	o, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	w, err := gguf.NewWriter(o, infos, meta)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range f.Tensors() {
		if err := w.WriteRows(x.Name, 0, raw(t, x)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return out
}
