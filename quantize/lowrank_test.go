package quantize

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

// TestLowRank compares with the singular value decomposition of E L, H = L Lᵀ, which is the best that any correction can do.
func TestLowRank(t *testing.T) {
	const rows, cols, rank = 24, 16, 5
	s := rng.New(2)
	x, e := mat.NewDense(cols, 40, nil), mat.NewDense(rows, cols, nil)
	for i := range cols {
		for j := range 40 {
			x.Set(i, j, s.Normal()*float64(1+i%4))
		}
	}
	e32 := make([]float32, rows*cols)
	for i := range e32 {
		e32[i] = float32(s.Normal())
		e.Set(i/cols, i%cols, float64(e32[i]))
	}
	var h mat.Dense
	h.Mul(x, x.T())
	sym := mat.NewSymDense(cols, nil)
	p := &Problem{Rows: rows, Cols: cols, Inputs: &calib.Point{Width: cols, Rows: 40, Hessian: make([]float64, cols*cols)}}
	for i := range cols {
		for j := range cols {
			sym.SetSym(i, j, h.At(i, j))
			p.Inputs.Hessian[i*cols+j] = h.At(i, j)
		}
	}
	var chol mat.Cholesky
	if !chol.Factorize(sym) {
		t.Fatal("not positive definite")
	}
	var l mat.TriDense
	chol.LTo(&l)
	var el mat.Dense
	el.Mul(e, &l)
	var svd mat.SVD
	if !svd.Factorize(&el, mat.SVDNone) {
		t.Fatal("no singular values")
	}
	var best float64
	for i, v := range svd.Values(nil) {
		if i >= rank {
			best += v * v
		}
	}
	b, a := p.lowRank(e32, rank)
	for r := range rows {
		for c := range cols {
			for k := range rank {
				e32[r*cols+c] -= b[r*rank+k] * a[k*cols+c]
			}
		}
	}
	if left := p.energy(e32, rows); left > best*1.001 || left < best*0.999 {
		t.Errorf("the correction leaves %g, the best possible %g", left, best)
	}
}

// TestAdapter expects a correction to make the model closer, and both kinds of files to give the model that was measured.
func TestAdapter(t *testing.T) {
	for _, format := range []string{"w4a16", "q4_0"} {
		m := models.Of(t, wide(t), 5)
		a, err := New("gptq")
		if err != nil {
			t.Fatal(err)
		}
		set := Settings{Format: format, LowRank: 8, Targets: []string{`re:^layers\.`}}
		q, r, err := Run(context.Background(), m, set, a, Options{Samples: samples})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		corrected, err := q.Adapted(r.Adapter)
		if err != nil {
			t.Fatal(err)
		}
		if plain, better := divergence(t, m, q), divergence(t, m, corrected); !(better < plain) {
			t.Errorf("%s: divergence %g with the adapter, %g without", format, better, plain)
		}
		for _, x := range r.Tensors {
			if x.Corrected > 0 && x.Corrected > x.Error {
				t.Errorf("%s %s: error %g with the adapter, %g without", format, x.Name, x.Corrected, x.Error)
			}
		}
		back, err := model.Open(saved(t, q, r.Adapter, format))
		if err != nil {
			t.Fatal(err)
		}
		defer back.Close()
		want, got := logitsOf(t, corrected), logitsOf(t, back)
		for i := range want {
			if want[i] != got[i] {
				t.Fatalf("%s: logit %d is %v in the file, was %v", format, i, got[i], want[i])
			}
		}
		e, err := runtime.Load(context.Background(), back, runtime.Options{})
		if err != nil {
			t.Fatal(err)
		}
		last, err := e.NewSession().Step(context.Background(), samples[0])
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range last {
			if d := math.Abs(float64(v) - want[len(want)-len(last)+i]); d > 0.2 {
				t.Fatalf("%s: the runtime's logit %d is off by %g", format, i, d)
			}
		}
		if err := back.SaveHF(context.Background(), dir(t.TempDir())); err == nil {
			t.Error("a model with an adapter was saved as one without")
		}
	}
}

// saved writes a model and its adapter and returns the adapter's path.
func saved(t *testing.T, q *model.Model, a model.Adapter, format string) string {
	t.Helper()
	top := t.TempDir()
	ctx := context.Background()
	if !Packed(format) {
		f, err := os.Create(filepath.Join(top, "q.gguf"))
		if err == nil {
			err = q.SaveGGUF(ctx, f, model.GGUFOptions{Mix: format})
		}
		if err == nil {
			err = f.Close()
		}
		path := filepath.Join(top, "q-adapter.gguf")
		if err == nil {
			f, err = os.Create(path)
		}
		if err == nil {
			err = q.SaveAdapterGGUF(f, a, "q.gguf")
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		return path
	}
	base, path := filepath.Join(top, "q"), filepath.Join(top, "q-adapter")
	for _, d := range []string{base, path} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.SaveHF(ctx, dir(base)); err != nil {
		t.Fatal(err)
	}
	if err := q.SaveAdapter(ctx, dir(path), a, "../q"); err != nil {
		t.Fatal(err)
	}
	return path
}
