package calib

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// written writes an importance matrix in both formats and reads it back.
func written(t *testing.T, x *Imatrix) (modern, legacy *Imatrix) {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "a.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(x.WriteGGUF(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := x.WriteLegacy(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.dat"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if modern, err = OpenImatrix(filepath.Join(dir, "a.gguf")); err != nil {
		t.Fatal(err)
	}
	if legacy, err = OpenImatrix(filepath.Join(dir, "a.dat")); err != nil {
		t.Fatal(err)
	}
	return modern, legacy
}

// TestImatrix gathers importances, of a mixture too, and takes them through both formats.
func TestImatrix(t *testing.T) {
	for _, name := range []string{"llama", "mixtral"} {
		m := models.Model(t, name, 5)
		x, err := Gather(context.Background(), m, samples, "a text")
		if err != nil {
			t.Fatal(err)
		}
		modern, legacy := written(t, x)
		if !slices.Equal(x.Names(), modern.Names()) || !slices.Equal(x.Names(), legacy.Names()) || !slices.Contains(x.Names(), "blk.0.attn_q.weight") {
			t.Fatalf("names %v, %v, %v", x.Names(), modern.Names(), legacy.Names())
		}
		names := m.GGUFNames()
		for _, w := range m.Graph.Weights {
			p := point(t, x, names[w], m.Tensor(w))
			if p == nil {
				continue
			}
			for _, back := range []*Imatrix{modern, legacy} {
				q := point(t, back, names[w], m.Tensor(w))
				for e := range max(len(p.Hits), 1) {
					if !near(p.ExpertImportance(e), q.ExpertImportance(e)) {
						t.Errorf("%s: importances changed on the way through a file", w.Name)
					}
				}
			}
		}
		// Two halves make the whole.
		var parts Imatrix
		for _, s := range samples {
			one, err := Gather(context.Background(), m, [][]int32{s}, "a text")
			if err != nil {
				t.Fatal(err)
			}
			if err := parts.Merge(one); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range x.Names() {
			if !near(parts.entries[n].square, x.entries[n].square) || !slices.Equal(parts.entries[n].count, x.entries[n].count) {
				t.Errorf("%s: merged sums differ from those of all samples at once", n)
			}
		}
	}
}

func point(t *testing.T, x *Imatrix, name string, w *tensor.Tensor) *Point {
	t.Helper()
	p, err := x.Point(name, w.Cols())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func near(a, b []float32) bool {
	for i := range a {
		if d := a[i] - b[i]; len(a) != len(b) || d > 1e-5*a[i] || d < -1e-5*a[i] {
			return false
		}
	}
	return true
}

// TestHits expects every token of a mixture to reach as many experts as the router chooses, and their squares to add up.
func TestHits(t *testing.T) {
	m := models.Model(t, "mixtral", 5)
	found := 0
	err := Walk(context.Background(), m, samples, Needs{Lean: true}, func(_ context.Context, l *Layer) (*model.Model, error) {
		for _, p := range l.Points {
			if p.Hits == nil {
				continue
			}
			found++
			var hits int64
			for _, n := range p.Hits {
				hits += n
			}
			if hits != 2*p.Rows {
				t.Errorf("layer %d: %d tokens, %d hits of two experts each", l.Index, p.Rows, hits)
			}
			for j, s := range p.SumSq {
				var sum float64
				for _, e := range p.ExpertSumSq {
					sum += e[j]
				}
				if d := sum - 2*s; d > 1e-9*s || d < -1e-9*s {
					t.Fatalf("layer %d: squares of channel %d are %v over experts, %v over tokens", l.Index, j, sum, s)
				}
			}
		}
		return nil, nil
	})
	if err != nil || found != len(m.Config.Layers) {
		t.Errorf("%v; experts in %d layers", err, found)
	}
}

// TestBadImatrix expects an error of every damaged file, and no panic.
func TestBadImatrix(t *testing.T) {
	x, err := Gather(context.Background(), models.Model(t, "llama", 5), samples, "a text")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := x.WriteLegacy(&b); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	for n := 0; n < len(good)-20; n += 97 { // the chunks and the text's name may be missing
		if _, err := parseLegacy("x.dat", good[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes pass", n, len(good))
		}
	}
	for i := range 64 {
		bad := slices.Clone(good)
		bad[i] ^= 0xff
		parseLegacy("x.dat", bad) // must not panic
	}
	huge := append([]byte{1, 0, 0, 0, 1, 0, 0, 0, 'x', 1, 0, 0, 0}, 0xff, 0xff, 0xff, 0x7f)
	if _, err := parseLegacy("x.dat", huge); !errors.Is(err, tensor.ErrCorrupt) {
		t.Errorf("an entry of 2^31 values: %v", err)
	}
}
