package quantize

import (
	"bytes"
	"context"
	"math"
	"testing"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/tiny/models"
)

// TestStream expects a streamed model to hold the bytes of one that is kept, and errors that were measured.
func TestStream(t *testing.T) {
	ctx := context.Background()
	m := models.Model(t, "llama", 3)
	importances, err := calib.Gather(ctx, m, [][]int32{{1, 2, 3, 4, 5, 6, 7}, {7, 5, 3, 1}}, "a text")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"q4_0", "q4_k_m", "q8_0", "w4a16"} {
		for _, x := range []*calib.Imatrix{nil, importances} {
			s := Settings{Format: format, AllowFallback: true}
			a := &RTN{Importance: x != nil}
			if !s.Streams(a, x) {
				t.Fatal("rounding to nearest is not streamed")
			}
			kept, report, err := Run(ctx, m, s, a, Options{Imatrix: x})
			if err != nil {
				t.Fatal(err)
			}
			flowing, streamed, err := Run(ctx, m, s, a, Options{Imatrix: x, Stream: true})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(all(t, kept), all(t, flowing)) {
				t.Errorf("%s: streamed bytes differ", format)
			}
			streamed.Complete()
			for i, r := range streamed.Tensors {
				// Small matrices are measured on all their rows either way.
				if want := report.Tensors[i]; r.Name != want.Name || r.Format != want.Format || math.Abs(r.Error-want.Error) > 1e-3*want.Error {
					t.Errorf("%s: %+v, want %+v", format, r, want)
				}
			}
		}
	}
}
