// Package measure measures one model after another, the first as the baseline of the rest, and writes rows of reports. The
// stage of recipes and the verbs of the command line that measure are both made of it.
package measure

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/parelm/pare/distill"
	"github.com/parelm/pare/eval"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tokenizer"
	"github.com/parelm/pare/quantize"
	"github.com/parelm/pare/runtime"
)

// Suite is what to measure.
type Suite struct {
	Source     eval.Source
	Perplexity bool
	KLD        bool // divergence from the baseline, and agreement with it
	// Answers, unless nil, is a cached teacher that divergence and agreement are measured from instead, over its own text.
	Answers *distill.CacheFile
	Tasks   []Task
	Limit   int // bounds the questions of each task; 0 means all
	// Rounding is how activations are rounded; empty means as each checkpoint asks for it.
	Rounding runtime.Rounding
}

// Task is a file of questions and the name it has in reports.
type Task struct{ Name, Path string }

// Subject is a model that is measured, or that others are compared with.
type Subject struct {
	Model  *model.Model
	Engine *runtime.Engine

	tok     *tokenizer.Tokenizer
	why     error // there is no tokenizer
	ids     []int32
	p       eval.Protocol
	correct map[string][]bool
}

// Open loads the model of a path.
func (s *Suite) Open(ctx context.Context, path string) (*Subject, error) {
	m, err := model.Open(path)
	if err != nil {
		return nil, err
	}
	return s.Load(ctx, m)
}

// Load loads a model; it is closed with the subject, or at once where there is an error.
func (s *Suite) Load(ctx context.Context, m *model.Model) (*Subject, error) {
	e, err := runtime.Load(ctx, m, runtime.Options{Rounding: cmp.Or(s.Rounding, runtime.RoundScheme)})
	if err != nil {
		m.Close()
		return nil, err
	}
	out := &Subject{Model: m, Engine: e}
	out.tok, out.why = m.Tokenizer()
	return out, nil
}

// Close closes the model.
func (s *Subject) Close() error { return s.Model.Close() }

// Row is what was found of one model.
type Row struct {
	report.Model
	Pairs    []report.Comparison // with the baseline, on the same items
	Protocol []string
	Warnings []string
	NLL      float64 // total, in nats
}

// Describe is what every model knows of itself.
func Describe(name string, m *model.Model) report.Model {
	n := m.Graph.Parameters()
	format, _ := m.Format()
	return report.Model{Name: name, Format: quantize.DisplayName(format), Parameters: n, BitsPerWeight: 8 * float64(m.Bytes()) / float64(n)}
}

// Run measures a subject; base may be nil, or the subject itself.
func (s *Suite) Run(ctx context.Context, name string, base, m *Subject) (*Row, error) {
	r := &Row{Model: Describe(name, m.Model)}
	if s.Rounding == runtime.RoundGGML {
		r.Protocol = append(r.Protocol, "Activations are rounded as ggml rounds them.")
	}
	if base == m {
		base = nil
	}
	if s.Perplexity || s.KLD && base != nil && s.Answers == nil {
		if err := s.text(ctx, base, m, r); err != nil {
			return nil, err
		}
	}
	if s.Answers != nil {
		if err := s.answers(ctx, m, r); err != nil {
			return nil, err
		}
	}
	m.correct = map[string][]bool{}
	for _, task := range s.Tasks {
		if m.tok == nil {
			return nil, m.why
		}
		t, err := eval.RunTask(ctx, m.Engine, m.tok, task.Path, s.Limit)
		if err != nil {
			return nil, err
		}
		if r.Tasks == nil {
			r.Tasks = map[string]report.Task{}
		}
		low, high := wilson(t.Value, t.N)
		r.Tasks[task.Name] = report.Task{Metric: t.Metric, Value: t.Value, Stderr: t.StdErr, Low: low, High: high, N: t.N}
		r.Protocol = append(r.Protocol, fmt.Sprintf("%s: %s.", task.Name, t.Protocol))
		if t.Truncated > 0 {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s on %s: %d prompts lost their beginning to fit the context", task.Name, name, t.Truncated))
		}
		if t.Equal > 0 {
			r.Protocol = append(r.Protocol, fmt.Sprintf("%s: %d questions have equal choices, of which either counts.", task.Name, t.Equal))
		}
		m.correct[task.Name] = t.Correct
		if base != nil {
			r.Pairs = append(r.Pairs, paired(task.Name, t, base.correct[task.Name]))
		}
	}
	return r, nil
}

// text measures perplexity and, where there is a baseline, divergence from it.
func (s *Suite) text(ctx context.Context, base, m *Subject, r *Row) error {
	if m.tok == nil && s.Source.IDs == "" {
		return m.why
	}
	var err error
	if m.ids, m.p, err = s.Source.Stream(ctx, m.Engine, m.tok); err != nil {
		return err
	}
	c := &eval.Comparison{}
	if base != nil && s.KLD && s.Answers == nil {
		if !slices.Equal(base.ids, m.ids) {
			return fmt.Errorf("its tokenizer cuts the text otherwise than the baseline's: they cannot be compared")
		}
		m.p = base.p
		c, err = eval.Compare(ctx, base.Engine, m.Engine, m.ids, m.p)
	} else {
		c.Perplexity, err = eval.Measure(ctx, m.Engine, m.ids, m.p)
	}
	if err != nil {
		return err
	}
	p := c.Perplexity
	if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) {
		return fmt.Errorf("its perplexity is %v", p.Value)
	}
	r.NLL = p.NLL
	if s.Perplexity {
		r.Perplexity = &report.Perplexity{Value: p.Value, Stderr: p.StdErr, Tokens: int64(p.Tokens), NLL: p.NLL / float64(p.Tokens), Protocol: p.Protocol}
	}
	r.Protocol = append(r.Protocol, fmt.Sprintf("Perplexity and divergence over %d tokens: %s.", len(m.ids), m.p))
	if c.KLD != nil {
		r.KLD = &report.KLD{Mean: c.KLD.Mean, Stderr: c.KLD.StdErr, P99: c.KLD.P99, Max: c.KLD.Max}
		r.Top1Agreement, r.Top1Stderr = &c.Top1.Value, c.Top1.StdErr
		half := 1.96 * c.Ratio.StdErr * c.Baseline.Value
		d := p.Value - c.Baseline.Value
		r.Pairs = append(r.Pairs, report.Comparison{Name: r.Name, Metric: "perplexity", Value: p.Value, Reference: c.Baseline.Value,
			Difference: d, Low: d - half, High: d + half, PValue: normalP(d, half/1.96), N: p.Tokens, LessIsBetter: true})
	}
	return nil
}

// answers measures divergence from a cached teacher.
func (s *Suite) answers(ctx context.Context, m *Subject, r *Row) error {
	c, err := s.Answers.Compare(ctx, m.Engine, s.Source.MaxTokens)
	if err != nil {
		return err
	}
	r.KLD = &report.KLD{Mean: c.Mean, Stderr: c.StdErr, P99: c.P99, Max: c.Max}
	r.Top1Agreement, r.Top1Stderr = &c.Top1, c.Top1StdErr
	r.Protocol = append(r.Protocol, fmt.Sprintf("Divergence from the cached teacher %s over %d tokens of its text in sequences of %d, estimated from %d top tokens and %d draws; "+
		"single positions scatter by the draws.", s.Answers.CacheInfo.Teacher, c.Tokens, s.Answers.Length, s.Answers.Top, s.Answers.Draws))
	return nil
}

// paired compares answers to the same questions: the difference of accuracies with the error of its mean, and McNemar's
// exact test on the questions that only one of the two got right.
func paired(task string, t *eval.TaskResult, base []bool) report.Comparison {
	n := float64(t.N)
	var won, lost int
	right := 0.0
	for i, ok := range t.Correct {
		right += b2f(base[i])
		switch {
		case ok && !base[i]:
			won++
		case !ok && base[i]:
			lost++
		}
	}
	mean := float64(won-lost) / n
	half := 1.96 * math.Sqrt(max(0, float64(won+lost)/n-mean*mean)/max(n-1, 1))
	return report.Comparison{Metric: task + " " + t.Metric, Value: t.Value, Reference: right / n, Difference: mean, Low: mean - half, High: mean + half,
		PValue: mcnemar(won, lost), N: t.N}
}

// mcnemar returns the two-sided p-value of a fair coin showing heads won times and tails lost times (McNemar 1947, exact).
func mcnemar(won, lost int) float64 {
	n := won + lost
	var p float64
	for k := 0; k <= min(won, lost); k++ {
		all, _ := math.Lgamma(float64(n + 1))
		a, _ := math.Lgamma(float64(k + 1))
		b, _ := math.Lgamma(float64(n - k + 1))
		p += math.Exp(all - a - b - float64(n)*math.Ln2)
	}
	return min(1, 2*p)
}

// normalP returns the two-sided p-value of a difference with a standard error.
func normalP(d, stderr float64) float64 {
	if d == 0 {
		return 1
	}
	return math.Erfc(math.Abs(d) / stderr / math.Sqrt2) // 0 where there is no error
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// wilson returns the 95 % score interval of a proportion (Wilson 1927): it stays within 0 and 1 and holds for few items.
func wilson(p float64, n int) (low, high float64) {
	const z = 1.96
	k := float64(n)
	mid := (p + z*z/(2*k)) / (1 + z*z/k)
	half := z / (1 + z*z/k) * math.Sqrt(p*(1-p)/k+z*z/(4*k*k))
	return max(0, mid-half), min(1, mid+half)
}
