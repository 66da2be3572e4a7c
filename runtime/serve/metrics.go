package serve

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// metrics are the counters of a server, in the text format of Prometheus, under the names that vLLM gives them with pare_
// for vllm:, so that a dashboard needs no more than that. It is a hundred lines; a library would bring a registry,
// collectors and their dependencies into a program that has twenty numbers.
type metrics struct {
	prompts, generated, cached, steps, cancelled atomic.Int64
	drafted, accepted, panics                    atomic.Int64
	queue, first, between, whole                 histogram
	mu                                           sync.Mutex
	codes                                        map[int]int64
	reasons                                      map[string]int64
}

func newMetrics() *metrics {
	return &metrics{codes: map[int]int64{}, reasons: map[string]int64{"stop": 0, "length": 0, "abort": 0}}
}

// seconds are the upper bounds of the buckets.
var seconds = [...]float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 120}

type histogram struct {
	mu    sync.Mutex
	count [len(seconds) + 1]int64
	sum   float64
}

func (h *histogram) observe(d time.Duration) {
	s := d.Seconds()
	i, _ := slices.BinarySearch(seconds[:], s)
	h.mu.Lock()
	h.count[i]++
	h.sum += s
	h.mu.Unlock()
}

func (m *metrics) code(c int) {
	m.mu.Lock()
	m.codes[c]++
	m.mu.Unlock()
}

// finished counts a text that ended.
func (m *metrics) finished(reason string, took time.Duration) {
	m.mu.Lock()
	m.reasons[reason]++
	m.mu.Unlock()
	m.whole.observe(took)
}

// page is the text of all metrics.
type page struct {
	io.Writer
	label string // of the model
}

func (p page) head(kind, name, help string) {
	fmt.Fprintf(p, "# HELP pare_%s %s\n# TYPE pare_%s %s\n", name, help, name, kind)
}

func (p page) one(kind, name, help string, v float64) {
	p.head(kind, name, help)
	fmt.Fprintf(p, "pare_%s{%s} %g\n", name, p.label, v)
}

func (p page) histogram(h *histogram, name, help string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.head("histogram", name, help)
	var n int64
	for i, bound := range seconds {
		n += h.count[i]
		fmt.Fprintf(p, "pare_%s_bucket{%s,le=\"%g\"} %d\n", name, p.label, bound, n)
	}
	n += h.count[len(seconds)]
	fmt.Fprintf(p, "pare_%s_bucket{%s,le=\"+Inf\"} %d\npare_%[1]s_sum{%[2]s} %[4]g\npare_%[1]s_count{%[2]s} %[3]d\n", name, p.label, n, h.sum)
}

// counts prints a counter with a label of its own.
func counts[K cmp.Ordered](p page, name, help, label string, values map[K]int64) {
	p.head("counter", name, help)
	for _, k := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(p, "pare_%s{%s,%s=\"%v\"} %d\n", name, p.label, label, k, values[k])
	}
}

// write prints all metrics.
func (m *metrics) write(w io.Writer, g gauges) {
	p := page{w, fmt.Sprintf("model_name=%q", g.model)}
	count := func(name, help string, v *atomic.Int64) { p.one("counter", name, help, float64(v.Load())) }
	p.one("gauge", "num_requests_running", "Texts being written.", float64(g.running))
	p.one("gauge", "num_requests_waiting", "Texts waiting for a place.", float64(g.waiting))
	p.one("gauge", "kv_cache_usage_perc", "The share of the room for keys and values that running texts use; 1 is all.", float64(g.held)/float64(max(1, g.room)))
	count("prompt_tokens_total", "Tokens of prompts that were read or known.", &m.prompts)
	count("generation_tokens_total", "Tokens written.", &m.generated)
	count("prefix_cache_queries_total", "Tokens of prompts, which a session might know.", &m.prompts)
	count("prefix_cache_hits_total", "Of those, tokens that a session knew.", &m.cached)
	count("spec_decode_num_draft_tokens_total", "Tokens that the draft model drafted.", &m.drafted)
	count("spec_decode_num_accepted_tokens_total", "Of those, tokens that the model wrote.", &m.accepted)
	count("computed_tokens_total", "Tokens that went through the model.", &m.steps)
	count("requests_ended_early_total", "Texts that were cancelled or failed.", &m.cancelled)
	count("panics_total", "Requests that met an internal error.", &m.panics)
	m.mu.Lock()
	counts(p, "request_success_total", "Texts by what ended them.", "finished_reason", m.reasons)
	counts(p, "http_responses_total", "Responses by status.", "code", m.codes)
	m.mu.Unlock()
	p.histogram(&m.queue, "request_queue_time_seconds", "From the request to a place.")
	p.histogram(&m.first, "time_to_first_token_seconds", "From the request to its first token.")
	p.histogram(&m.between, "inter_token_latency_seconds", "Between tokens of one text.")
	p.histogram(&m.whole, "e2e_request_latency_seconds", "From the request to the end of its text.")
}
