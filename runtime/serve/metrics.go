package serve

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// metrics are the counters of a server, in the text format of Prometheus. It is forty lines; a library would bring a
// registry, collectors and their dependencies into a program that has ten numbers.
type metrics struct {
	prompts, generated, cached, steps, cancelled atomic.Int64
	panics                                       atomic.Int64
	first, between                               histogram
	mu                                           sync.Mutex
	codes                                        map[int]int64
	turns                                        int64 // of the loop alone
}

func newMetrics() *metrics { return &metrics{codes: map[int]int64{}} }

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

// write prints all metrics.
func (m *metrics) write(w io.Writer, running, waiting int) {
	one := func(kind, name, help string, v int64) {
		fmt.Fprintf(w, "# HELP pare_%s %s\n# TYPE pare_%s %s\npare_%s %d\n", name, help, name, kind, name, v)
	}
	one("gauge", "requests_running", "Texts being written.", int64(running))
	one("gauge", "requests_waiting", "Texts waiting for a place.", int64(waiting))
	one("counter", "prompt_tokens_total", "Tokens of prompts that were answered.", m.prompts.Load())
	one("counter", "prompt_tokens_cached_total", "Of those, tokens that a session still knew.", m.cached.Load())
	one("counter", "generated_tokens_total", "Tokens drawn.", m.generated.Load())
	one("counter", "computed_tokens_total", "Tokens that went through the model.", m.steps.Load())
	one("counter", "requests_ended_early_total", "Texts that were cancelled or failed.", m.cancelled.Load())
	one("counter", "panics_total", "Requests that met an internal error.", m.panics.Load())
	m.mu.Lock()
	fmt.Fprintf(w, "# HELP pare_http_responses_total Responses by status.\n# TYPE pare_http_responses_total counter\n")
	codes := make([]int, 0, len(m.codes))
	for c := range m.codes {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	for _, c := range codes {
		fmt.Fprintf(w, "pare_http_responses_total{code=\"%d\"} %d\n", c, m.codes[c])
	}
	m.mu.Unlock()
	m.first.write(w, "time_to_first_token_seconds", "From the request to its first token.")
	m.between.write(w, "time_between_tokens_seconds", "Between tokens of one text.")
}

func (h *histogram) write(w io.Writer, name, help string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Fprintf(w, "# HELP pare_%s %s\n# TYPE pare_%s histogram\n", name, help, name)
	var n int64
	for i, bound := range seconds {
		n += h.count[i]
		fmt.Fprintf(w, "pare_%s_bucket{le=\"%g\"} %d\n", name, bound, n)
	}
	n += h.count[len(seconds)]
	fmt.Fprintf(w, "pare_%s_bucket{le=\"+Inf\"} %d\npare_%s_sum %g\npare_%s_count %d\n", name, n, name, h.sum, name, n)
}
