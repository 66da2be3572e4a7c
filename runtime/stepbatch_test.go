package runtime

import (
	"context"
	"slices"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
)

// TestStepBatch runs sessions in batches of changing company and expects the bits that each gets alone.
func TestStepBatch(t *testing.T) {
	ctx := context.Background()
	for _, name := range models.Names() {
		t.Run(name, func(t *testing.T) {
			m := models.Model(t, name, 9)
			alone, err := Load(ctx, m, Options{Batch: 7})
			if err != nil {
				t.Fatal(err)
			}
			together, err := Load(ctx, m, Options{Batch: 5})
			if err != nil {
				t.Fatal(err)
			}
			s := rng.New(1)
			const sessions = 4
			var want, got [sessions][]float32
			var text [sessions][]int32
			for i := range text {
				for range 20 {
					text[i] = append(text[i], int32(s.Intn(alone.Vocab())))
				}
				want[i] = collect(t, alone.NewSession(), text[i])
			}
			var batch [sessions]*Session
			for i := range batch {
				batch[i] = together.NewSession()
			}
			for {
				var works []*Work
				for i := range batch {
					if n := min(s.Intn(9), len(text[i])-batch[i].Len()); n > 0 {
						at := batch[i].Len()
						works = append(works, &Work{Session: batch[i], IDs: text[i][at : at+n], All: true})
					}
				}
				if len(works) > 0 {
					if err := together.StepBatch(ctx, works); err != nil {
						t.Fatal(err)
					}
				}
				done := true
				for _, w := range works {
					i := slices.Index(batch[:], w.Session)
					if len(w.Logits) != len(w.IDs) {
						t.Fatalf("%d rows of logits for %d ids", len(w.Logits), len(w.IDs))
					}
					for _, l := range w.Logits {
						got[i] = append(got[i], l...)
					}
				}
				for i := range batch {
					done = done && batch[i].Len() == len(text[i])
				}
				if done {
					break
				}
			}
			for i := range want {
				if !lengthDependent(m) && !slices.Equal(want[i], got[i]) {
					t.Fatalf("session %d gets other logits in a batch", i)
				}
			}
		})
	}
}

// A step whose logits go where the last ones were allocates no rows of its own, and they are the same.
func TestStepBatchReuses(t *testing.T) {
	ctx := context.Background()
	e, err := Load(ctx, headsOf32(t, `"model_type":"llama"`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	kept, reused := &Work{Session: e.NewSession()}, &Work{Session: e.NewSession(), Reuse: true}
	var row *float32
	for i := range 4 {
		kept.IDs, reused.IDs = []int32{int32(i)}, []int32{int32(i)}
		if err := e.StepBatch(ctx, []*Work{kept, reused}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(kept.Logits[0], reused.Logits[0]) {
			t.Fatalf("step %d: other logits", i)
		}
		if at := &reused.Logits[0][0]; i > 0 && at != row {
			t.Fatalf("step %d: logits in new memory", i)
		} else {
			row = at
		}
	}
}
