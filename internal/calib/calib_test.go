package calib

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/reference"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

var samples = [][]int32{{3, 17, 99, 4, 4, 56, 23}, {8, 71, 64, 2, 90, 11, 45, 6, 6, 100}}

// TestWalk compares the statistics with sums over the reference executor's values.
func TestWalk(t *testing.T) {
	for _, name := range []string{"llama", "gpt2", "falcon_7b", "gemma2", "mixtral", "mamba"} {
		t.Run(name, func(t *testing.T) {
			m := models.Model(t, name, 5)
			var traces []reference.Trace
			for _, ids := range samples {
				tr, err := reference.Run(m.Graph, func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }, ids)
				if err != nil {
					t.Fatal(err)
				}
				traces = append(traces, tr)
			}
			layers := 0
			err := Walk(context.Background(), m, samples, Needs{Hessian: true}, func(_ context.Context, l *Layer) (*model.Model, error) {
				layers++
				for _, g := range m.Graph.Groups() {
					if g.Input.Layer != l.Index || g.Linears[0].Layer != l.Index {
						continue
					}
					p := l.Points[g.Input]
					if p == nil {
						t.Fatalf("layer %d: no statistics for the input of %s", l.Index, g.Linears[0].Site)
					}
					comparePoint(t, g.Linears[0].Site, p, g.Input, traces)
				}
				return nil, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if layers != len(m.Config.Layers) {
				t.Errorf("%d layers visited, want %d", layers, len(m.Config.Layers))
			}
		})
	}
}

func comparePoint(t *testing.T, site string, p *Point, n *model.Node, traces []reference.Trace) {
	t.Helper()
	w := n.Out.Size()
	hess, top := make([]float64, w*w), make([]float64, w)
	rows := 0
	for _, tr := range traces {
		x := tr[n.ID]
		for r := 0; r < len(x); r += w {
			rows++
			for i := range w {
				top[i] = max(top[i], math.Abs(x[r+i]))
				for j := range w {
					hess[i*w+j] += x[r+i] * x[r+j]
				}
			}
		}
	}
	if p.Rows != int64(rows) {
		t.Errorf("%s: %d rows, want %d", site, p.Rows, rows)
	}
	scale := 0.0
	for i := range w {
		scale = max(scale, hess[i*w+i])
	}
	for i := range w {
		if math.Abs(p.SumSq[i]-hess[i*w+i]) > 1e-4*scale || math.Abs(float64(p.MaxAbs[i])-top[i]) > 1e-4*math.Sqrt(scale) {
			t.Fatalf("%s: channel %d: sum of squares %v and largest %v, want %v and %v", site, i, p.SumSq[i], p.MaxAbs[i], hess[i*w+i], top[i])
		}
		for j := range w {
			if math.Abs(p.Hessian[i*w+j]-hess[i*w+j]) > 1e-4*scale {
				t.Fatalf("%s: Hessian (%d,%d) is %v, want %v", site, i, j, p.Hessian[i*w+j], hess[i*w+j])
			}
		}
	}
}

// TestThreads expects the same bits for any number of threads.
func TestThreads(t *testing.T) {
	defer par.SetThreads(0)
	m := models.Model(t, "llama", 5)
	var first map[string][]float64
	for _, threads := range []int{1, 2, 3} {
		par.SetThreads(threads)
		got := map[string][]float64{}
		err := Walk(context.Background(), m, samples, Needs{Hessian: true}, func(_ context.Context, l *Layer) (*model.Model, error) {
			for n, p := range l.Points {
				got[fmt.Sprint(n.ID)] = p.Hessian
			}
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
			continue
		}
		for k := range first {
			for i := range first[k] {
				if first[k][i] != got[k][i] {
					t.Fatalf("%s: value %d differs with %d threads", k, i, threads)
				}
			}
		}
	}
}

// BenchmarkHessian adds a sample of 512 tokens to a second moment.
func BenchmarkHessian(b *testing.B) {
	for _, n := range []int{2048, 5632} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			p := newPoint(n, Needs{Hessian: true})
			x, s := make([]float32, 512*n), rng.New(1)
			for i := range x {
				x[i] = float32(s.Normal())
			}
			for b.Loop() {
				p.add(x, 512)
			}
		})
	}
}
