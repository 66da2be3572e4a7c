// Package report turns the facts of a run into pages that people read and files that programs read: report.md,
// report.html, report.json, JUnit XML for the gate, and plots as SVG and PNG.
//
// The input is plain data. Stages leave Facts beside their artifacts; a run gathers them into one Report.
package report

import (
	"time"
)

// Names of the files in an artifact that hold Facts: what is the same in every run, and what was measured by the clock.
const (
	FactsFile   = "facts.json"
	TimingsFile = "timings.json"
)

// Facts is what one stage found out.
type Facts struct {
	Models   []Model      `json:"models,omitempty"`
	Pairs    []Comparison `json:"pairs,omitempty"` // models against the baseline, on the same items
	Curves   []Curve      `json:"curves,omitempty"`
	Tables   []Table      `json:"tables,omitempty"`
	Protocol []string     `json:"protocol,omitempty"` // how it was measured, a sentence each
	Warnings []string     `json:"warnings,omitempty"`
}

// Report is everything a run has to tell. The keys of its JSON are stable: new ones may come, none change meaning.
type Report struct {
	Format      int          `json:"format"` // 1
	Title       string       `json:"title"`
	Description string       `json:"description,omitempty"`
	Generated   time.Time    `json:"generated"`
	Pare        string       `json:"pare"` // version
	Machine     Machine      `json:"machine"`
	Baseline    string       `json:"baseline,omitempty"` // the model that others are compared with
	Models      []Model      `json:"models"`             // in the order of the recipe, the baseline first
	Pairs       []Comparison `json:"pairs,omitempty"`
	Stages      []Stage      `json:"stages"`
	Gate        *Gate        `json:"gate,omitempty"`
	Protocol    []string     `json:"protocol,omitempty"`
	Inputs      []Input      `json:"inputs,omitempty"`
	Curves      []Curve      `json:"curves,omitempty"`
	Tables      []Table      `json:"tables,omitempty"`
	Warnings    []string     `json:"warnings,omitempty"`
	Recipe      string       `json:"recipe,omitempty"` // resolved, YAML
}

// Machine is where the speeds were measured.
type Machine struct {
	CPU     string `json:"cpu,omitempty"`
	Cores   int    `json:"cores,omitempty"`
	Threads int    `json:"threads,omitempty"` // that pare used
	Memory  int64  `json:"memory_bytes,omitempty"`
	OS      string `json:"os,omitempty"`
	Go      string `json:"go,omitempty"`
	Kernel  string `json:"kernel,omitempty"` // vector kernels in use
}

// Model is one model of the run with all that was measured of it. Zero and nil mean "not measured".
type Model struct {
	Name          string          `json:"name"`
	Stage         string          `json:"stage,omitempty"`  // kind of the stage that made it; empty for the recipe's own
	From          string          `json:"from,omitempty"`   // the model it was made of
	Format        string          `json:"format,omitempty"` // of its weights, as users name it: bf16, Q4_K_M, W4A16
	Path          string          `json:"path,omitempty"`
	Digest        string          `json:"digest,omitempty"`
	Bytes         int64           `json:"bytes,omitempty"` // of the files that hold weights
	Parameters    int64           `json:"parameters,omitempty"`
	BitsPerWeight float64         `json:"bits_per_weight,omitempty"`
	Perplexity    *Perplexity     `json:"perplexity,omitempty"`
	KLD           *KLD            `json:"kld,omitempty"`            // to the baseline
	Top1Agreement *float64        `json:"top1_agreement,omitempty"` // share of positions with the baseline's best token, 0 to 1
	Top1Stderr    float64         `json:"top1_stderr,omitempty"`
	Tasks         map[string]Task `json:"tasks,omitempty"`
	Prefill       *Speed          `json:"prefill,omitempty"`
	Decode        *Speed          `json:"decode,omitempty"`
	PeakMemory    int64           `json:"peak_memory_bytes,omitempty"` // resident while it ran
	LoadSeconds   float64         `json:"load_seconds,omitempty"`
}

// Perplexity is exp of the mean negative log-likelihood per scored token.
type Perplexity struct {
	Value    float64 `json:"value"`
	Stderr   float64 `json:"stderr"`
	Tokens   int64   `json:"tokens"`
	NLL      float64 `json:"nll"` // mean, in nats
	Protocol string  `json:"protocol,omitempty"`
}

// KLD is the Kullback-Leibler divergence from the baseline's next-token distribution, in nats per position.
type KLD struct {
	Mean   float64 `json:"mean"`
	Stderr float64 `json:"stderr,omitempty"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// Task is the score in one task.
type Task struct {
	Metric string  `json:"metric"` // accuracy, ...
	Value  float64 `json:"value"`
	Stderr float64 `json:"stderr"`
	Low    float64 `json:"low,omitempty"` // 95 % interval
	High   float64 `json:"high,omitempty"`
	N      int     `json:"n"`
}

// Speed is a rate over some repetitions.
type Speed struct {
	TokensPerSecond float64 `json:"tokens_per_second"`
	Stddev          float64 `json:"stddev"`
	Tokens          int     `json:"tokens,omitempty"` // of one repetition
	Threads         int     `json:"threads,omitempty"`
}

// Stage is one step of the run: what it cost, and what the plan had said.
type Stage struct {
	Name             string  `json:"name"`
	Kind             string  `json:"stage"`
	Key              string  `json:"key,omitempty"`
	Digest           string  `json:"digest,omitempty"`
	Path             string  `json:"path,omitempty"`
	Reused           bool    `json:"reused"` // made by an earlier run; Seconds is what it took then
	Seconds          float64 `json:"seconds"`
	Bytes            int64   `json:"bytes"`
	PeakMemory       int64   `json:"peak_memory_bytes,omitempty"`
	EstimatedSeconds float64 `json:"estimated_seconds,omitempty"`
	EstimatedBytes   int64   `json:"estimated_bytes,omitempty"`
	EstimatedMemory  int64   `json:"estimated_memory_bytes,omitempty"`
}

// Input is a file or directory that the run read.
type Input struct {
	Role   string `json:"role"`
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

// Gate is the verdict over the checks a recipe demands.
type Gate struct {
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
}

// Check is one demand, in words and numbers.
type Check struct {
	Name  string  `json:"name"` // `q4 max_degradation.perplexity`
	Limit float64 `json:"limit"`
	Value float64 `json:"value"`
	OK    bool    `json:"ok"`
	Text  string  `json:"text,omitempty"` // for people: "perplexity is 3.1 % above base, at most 5 % allowed"
}

// Curve is a quantity over the steps of a training.
type Curve struct {
	Stage  string    `json:"stage"`
	Name   string    `json:"name"` // "loss", "held-out loss"
	Steps  []float64 `json:"steps"`
	Values []float64 `json:"values"`
}

// Table is a table of its own, such as the errors of every tensor. Cells are ready to print.
type Table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}

// Merge adds to m what another look at the same model found. What o says wins over what m says.
func (m *Model) Merge(o Model) {
	set := func(dst *string, v string) {
		if v != "" {
			*dst = v
		}
	}
	set(&m.Stage, o.Stage)
	set(&m.From, o.From)
	set(&m.Format, o.Format)
	set(&m.Path, o.Path)
	set(&m.Digest, o.Digest)
	pick(&m.Bytes, o.Bytes)
	pick(&m.Parameters, o.Parameters)
	pick(&m.BitsPerWeight, o.BitsPerWeight)
	pick(&m.Perplexity, o.Perplexity)
	pick(&m.KLD, o.KLD)
	pick(&m.Top1Agreement, o.Top1Agreement)
	pick(&m.Top1Stderr, o.Top1Stderr)
	pick(&m.Prefill, o.Prefill)
	pick(&m.Decode, o.Decode)
	pick(&m.PeakMemory, o.PeakMemory)
	pick(&m.LoadSeconds, o.LoadSeconds)
	for name, t := range o.Tasks {
		if m.Tasks == nil {
			m.Tasks = map[string]Task{}
		}
		m.Tasks[name] = t
	}
}

// pick sets dst where v says anything.
func pick[T comparable](dst *T, v T) {
	var zero T
	if v != zero {
		*dst = v
	}
}

// Add merges facts into the report: models by name, new ones at the end.
func (r *Report) Add(f Facts) {
	for _, m := range f.Models {
		if have := r.Model(m.Name); have != nil {
			have.Merge(m)
		} else {
			r.Models = append(r.Models, m)
		}
	}
	r.Pairs = append(r.Pairs, f.Pairs...)
	r.Curves = append(r.Curves, f.Curves...)
	r.Tables = append(r.Tables, f.Tables...)
	r.Protocol = appendNew(r.Protocol, f.Protocol)
	r.Warnings = appendNew(r.Warnings, f.Warnings)
}

func appendNew(list, more []string) []string {
next:
	for _, s := range more {
		for _, have := range list {
			if have == s {
				continue next
			}
		}
		list = append(list, s)
	}
	return list
}

// Model returns the model of a name, nil where there is none.
func (r *Report) Model(name string) *Model {
	for i := range r.Models {
		if r.Models[i].Name == name {
			return &r.Models[i]
		}
	}
	return nil
}

// Metric returns a measured quantity by the name it has in gates and tasks, and whether less of it is better. ok is
// false where it was not measured.
func (m *Model) Metric(name string) (value float64, lessIsBetter, ok bool) {
	switch name {
	case "perplexity":
		if m.Perplexity != nil {
			return m.Perplexity.Value, true, true
		}
	case "kld":
		if m.KLD != nil {
			return m.KLD.Mean, true, true
		}
	case "top1_agreement":
		if m.Top1Agreement != nil {
			return *m.Top1Agreement, false, true
		}
	case "prefill":
		if m.Prefill != nil {
			return m.Prefill.TokensPerSecond, false, true
		}
	case "decode":
		if m.Decode != nil {
			return m.Decode.TokensPerSecond, false, true
		}
	case "size":
		return float64(m.Bytes), true, m.Bytes > 0
	case "memory":
		return float64(m.PeakMemory), true, m.PeakMemory > 0
	case "bits_per_weight":
		return m.BitsPerWeight, true, m.BitsPerWeight > 0
	}
	t, ok := m.Tasks[name]
	return t.Value, t.Metric == "perplexity" || t.Metric == "nll" || t.Metric == "bits_per_byte", ok
}

// Metrics lists the names that Metric knows beside those of tasks.
var Metrics = []string{"perplexity", "kld", "top1_agreement", "prefill", "decode", "size", "memory", "bits_per_weight"}
