package distill

import (
	"os"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model"
)

// BenchmarkTeacher is the part of a step that the live teacher takes, beside the whole step.
func BenchmarkTeacher(b *testing.B) {
	path := os.Getenv("PARE_BENCH_MODEL")
	if path == "" {
		path = tiny.Shared(b, "assets", "models", "stories260K")
	}
	m, err := model.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	teacher, err := Live(b.Context(), m)
	if err != nil {
		b.Fatal(err)
	}
	s := Default()
	s.Losses = Losses{"kl": &KL{Soft{Term: Term{1}}}}
	r := &run{s: s, student: m, teacher: teacher, report: &Report{}}
	if err := r.prepare(text(20000, m.Config.Vocab)); err != nil {
		b.Fatal(err)
	}
	tokens := float64(s.BatchSize * r.order.length)
	b.Run("teacher", func(b *testing.B) {
		for b.Loop() {
			x := r.order.batch(0, s.BatchSize)
			if err := r.answer(b.Context(), x); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(tokens*float64(b.N)/b.Elapsed().Seconds(), "tok/s")
	})
	b.Run("step", func(b *testing.B) {
		for b.Loop() {
			if err := r.step(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(tokens*float64(b.N)/b.Elapsed().Seconds(), "tok/s")
	})
}
