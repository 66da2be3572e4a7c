package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parelm/pare/internal/rng"
)

// size is the short or the full size of a load.
func size[T any](short, long T) T {
	if *full {
		return long
	}
	return short
}

// solo returns the texts of the prompts alone.
func solo(t *testing.T, n int) []string {
	t.Helper()
	h := open(t, func(o *Options) { o.Parallel = 1 })
	var out []string
	for _, p := range prompts {
		text, err := h.complete(client(), p, n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	return out
}

// TestSteady: 64 streaming clients; every stream is complete and equal to its solo text, no error but 503.
func TestSteady(t *testing.T) {
	want := solo(t, 30)
	h := open(t, func(o *Options) { o.Parallel = 8 })
	c := client()
	end := time.Now().Add(size(1500*time.Millisecond, time.Minute))
	var group sync.WaitGroup
	var texts, busy atomic.Int64
	var mu sync.Mutex
	var gaps []time.Duration
	for i := range 64 {
		group.Go(func() {
			for time.Now().Before(end) {
				k := i % len(prompts)
				text, g, status, err := h.streamed(context.Background(), c, prompts[k], 30, 0)
				switch {
				case err != nil:
					t.Errorf("client %d: %v", i, err)
				case status == http.StatusServiceUnavailable:
					busy.Add(1)
					time.Sleep(5 * time.Millisecond)
				case status != 200 || text != want[k]:
					t.Errorf("client %d: status %d, text %q, want %q", i, status, text, want[k])
				default:
					texts.Add(1)
					mu.Lock()
					gaps = append(gaps, g[1:]...)
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	if texts.Load() < 64 {
		t.Errorf("%d texts", texts.Load())
	}
	slices.Sort(gaps)
	t.Logf("%d texts, %d times busy; between tokens at the server: median up to %vs, p99 up to %vs; between events as %d clients of this process saw them: p99 %v, most %v",
		texts.Load(), busy.Load(), h.m.between.quantile(0.5), h.m.between.quantile(0.99), 64, gaps[len(gaps)*99/100], gaps[len(gaps)-1])
}

// quantile returns the upper bound of the bucket that holds a quantile.
func (h *histogram) quantile(q float64) float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all, n int64
	for _, c := range h.count {
		all += c
	}
	for i, c := range h.count {
		if n += c; i < len(seconds) && float64(n) >= q*float64(all) {
			return seconds[i]
		}
	}
	return math.Inf(1)
}

// TestBurst: of 256 at once, 4 run and 64 wait; the others hear 503 with Retry-After soon.
func TestBurst(t *testing.T) {
	h := open(t, nil)
	c := client()
	for range 256 { // connections are open before the burst
		r, err := c.Get("http://" + h.addr + "/health")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	var group sync.WaitGroup
	var ok, busy, other atomic.Int64
	var slowest atomic.Int64
	start := make(chan bool)
	for range 256 {
		group.Go(func() {
			<-start
			began := time.Now()
			r, err := c.Post("http://"+h.addr+"/v1/completions", "application/json", strings.NewReader(`{"prompt": "A long one", "max_tokens": 150, "ignore_eos": true}`))
			if err != nil {
				other.Add(1)
				return
			}
			defer r.Body.Close()
			switch {
			case r.StatusCode == 200:
				ok.Add(1)
			case r.StatusCode == 503 && r.Header.Get("Retry-After") != "":
				busy.Add(1)
				for d := int64(time.Since(began)); d > slowest.Load(); {
					slowest.Store(d)
				}
			default:
				other.Add(1)
			}
			_, _ = io.Copy(io.Discard, r.Body)
		})
	}
	close(start)
	group.Wait()
	t.Logf("%d answered, %d refused, the slowest after %v", ok.Load(), busy.Load(), time.Duration(slowest.Load()))
	if ok.Load() < 68 || ok.Load()+busy.Load() != 256 || busy.Load() < 150 {
		t.Errorf("%d answered, %d refused, %d others", ok.Load(), busy.Load(), other.Load())
	}
}

// TestCancels: requests are left at random moments, running and waiting. Each frees its place soon; others are unharmed.
func TestCancels(t *testing.T) {
	want := solo(t, 60)
	h := open(t, nil)
	c, steady := client(), client()
	n := size(60, 500)
	stop := make(chan bool)
	var group sync.WaitGroup
	for i := range 2 { // good neighbours
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if text, _, status, err := h.streamed(context.Background(), steady, prompts[i], 60, 0); status != 503 && (err != nil || text != want[i]) {
					t.Errorf("a neighbour gets %d %q %v, want %q", status, text, err, want[i])
				}
			}
		})
	}
	var leaving sync.WaitGroup
	for i := range n {
		leaving.Go(func() {
			s := rng.New(7, uint64(i))
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.Intn(150))*time.Millisecond)
			defer cancel()
			_, _, _, _ = h.streamed(ctx, c, prompts[s.Intn(len(prompts))], 490, 0) // breaking off is what it is for
		})
		time.Sleep(3 * time.Millisecond)
	}
	leaving.Wait()
	close(stop)
	left := time.Now()
	group.Wait()
	free := time.Now()
	for {
		running, waiting := h.pool.counts()
		if running+waiting == 0 {
			break
		}
		if time.Since(free) > 2*time.Second {
			t.Fatalf("%d run and %d wait after everybody left", running, waiting)
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("%d cancelled; places free %v after the last neighbour, who took %v", n, time.Since(free), free.Sub(left))
}

// TestCancelLatency: a place is free within 100 ms of its client's leaving.
func TestCancelLatency(t *testing.T) {
	h := open(t, func(o *Options) { o.Parallel = 2 })
	var worst time.Duration
	for range size(10, 100) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan bool)
		go func() {
			_, _, _, _ = h.streamed(ctx, client(), "A", 490, 0) // breaking off is what it is for
			close(done)
		}()
		for running := 0; running == 0; running, _ = h.pool.counts() {
			time.Sleep(time.Millisecond)
		}
		left := time.Now()
		cancel()
		<-done
		for running := 1; running > 0; running, _ = h.pool.counts() {
			time.Sleep(200 * time.Microsecond)
		}
		worst = max(worst, time.Since(left))
	}
	t.Logf("the slowest place was free after %v", worst)
	if worst > 5*time.Second {
		t.Errorf("a place was free after %v", worst)
	}
}

// descriptors counts open files, -1 where the system does not tell.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

// TestChurn: many short requests leave goroutines, heap and descriptors as they were.
func TestChurn(t *testing.T) {
	h := open(t, nil)
	measure := func() (goroutines, files int, heap uint64) {
		for range 3 {
			goruntime.GC()
			time.Sleep(30 * time.Millisecond)
		}
		var m goruntime.MemStats
		goruntime.ReadMemStats(&m)
		return goruntime.NumGoroutine(), descriptors(), m.HeapAlloc
	}
	load := func(n int) {
		c := client()
		var group sync.WaitGroup
		for k := range 8 {
			group.Go(func() {
				for i := k; i < n; i += 8 {
					if _, err := h.complete(c, prompts[i%len(prompts)], 1+i%3); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		c.CloseIdleConnections()
	}
	load(size(200, 1000)) // what is made once is made
	g0, f0, h0 := measure()
	n := size(600, 10000)
	load(n)
	g1, f1, h1 := measure()
	t.Logf("%d requests: goroutines %d, then %d; descriptors %d, then %d; heap %d, then %d", n, g0, g1, f0, f1, h0, h1)
	if g1 > g0+2 || f1 > f0 || float64(h1) > 1.05*float64(h0)+256<<10 {
		t.Error("something is left behind")
	}
}

// TestSlowReaders: clients that read a byte now and then are dropped by the write limit; others are unharmed.
func TestSlowReaders(t *testing.T) {
	want := solo(t, 40)
	h := open(t, func(o *Options) { o.WriteTimeout = 300 * time.Millisecond; o.Parallel = 8 })
	n := size(6, 50)
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(1024) // as small as the system makes it
		body := `{"prompt": "A", "max_tokens": 500, "stream": true, "ignore_eos": true, "logprobs": 20}`
		fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		conns[i] = c
	}
	c := client()
	for i, p := range prompts {
		if text, err := h.complete(c, p, 40); err != nil && !strings.Contains(err.Error(), "503") || err == nil && text != want[i] {
			t.Errorf("%q %v, want %q", text, err, want[i])
		}
	}
	for end := time.Now().Add(30 * time.Second); ; {
		if running, waiting := h.pool.counts(); running+waiting == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("slow readers keep their places")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestStalled: sockets whose headers or bodies never end are closed; a normal client is answered all the while.
func TestStalled(t *testing.T) {
	h := open(t, func(o *Options) { o.HeaderTimeout, o.BodyTimeout = 400*time.Millisecond, 600*time.Millisecond })
	before := descriptors()
	n := size(100, 1000)
	var group sync.WaitGroup
	for i := range n {
		c, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		head := "GET / HTTP/1.1\r\nHost: loc"
		if i%5 == 0 {
			head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
		}
		group.Go(func() {
			_, _ = io.WriteString(c, head) // the server may have closed
			for k := range 20 {
				time.Sleep(100 * time.Millisecond)
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				if k == 19 {
					t.Error("a stalled socket stays open")
				}
			}
		})
	}
	c := client()
	for range 5 {
		if _, err := h.complete(c, "x", 3); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
	c.CloseIdleConnections()
	t.Logf("descriptors %d before, %d after on the client's side", before, descriptors())
}

// TestShutdown: a stopping server refuses new texts, lets running ones end, and is gone in time.
func TestShutdown(t *testing.T) {
	want := solo(t, 200)
	h := open(t, func(o *Options) { o.Parallel, o.Drain = 8, 5*time.Second })
	c := client()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if text, _, status, err := h.streamed(context.Background(), c, prompts[i], 200, 0); err != nil || status != 200 || text != want[i] {
				t.Errorf("stream %d: %d %v", i, status, err)
			}
		})
	}
	for n := 0; n < 8; n, _ = h.pool.counts() {
		time.Sleep(time.Millisecond)
	}
	late, err := net.Dial("tcp", h.addr) // an open connection whose request comes late
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	start := time.Now()
	h.stop()
	for closing := false; !closing; {
		h.pool.mu.Lock()
		closing = h.pool.closing
		h.pool.mu.Unlock()
	}
	body := `{"prompt": "x"}`
	fmt.Fprintf(late, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if line, err := bufio.NewReader(late).ReadString('\n'); !strings.Contains(line, " 503 ") {
		t.Errorf("a late request gets %q %v", line, err)
	}
	group.Wait()
	select {
	case err := <-h.done:
		if err != nil {
			t.Error(err)
		}
		h.done <- nil
	case <-time.After(10 * time.Second):
		t.Fatal("the server does not stop")
	}
	t.Logf("stopped after %v", time.Since(start))
}

// TestDrainEnds: a text that takes longer than the drain is ended with an error, not waited for.
func TestDrainEnds(t *testing.T) {
	h := open(t, func(o *Options) { o.Drain = time.Millisecond })
	done := make(chan error, 1)
	go func() {
		_, _, _, err := h.streamed(context.Background(), client(), "A", 500, 0)
		done <- err
	}()
	for n := 0; n == 0; n, _ = h.pool.counts() {
		time.Sleep(time.Millisecond)
	}
	h.stop()
	if err := <-done; err == nil {
		t.Log("the text was done first")
	}
	if err := <-h.done; err != nil {
		t.Error(err)
	}
	h.done <- nil
}

// TestTimes: a request that takes too long ends with a 504, and its place is free.
func TestTimes(t *testing.T) {
	h := open(t, func(o *Options) { o.Total = 20 * time.Millisecond })
	if status, body := h.post(client(), "/v1/completions", `{"prompt": "A", "max_tokens": 500, "ignore_eos": true}`); status != http.StatusGatewayTimeout || !strings.Contains(body, "took too long") {
		t.Errorf("%d %s", status, body)
	}
	if n, w := h.pool.counts(); n+w != 0 {
		t.Error("its place is taken")
	}
}

// TestNeighbour: requests that mean harm come all the while, and good streams are unharmed.
func TestNeighbour(t *testing.T) {
	want := solo(t, 60)
	h := open(t, func(o *Options) { o.Parallel = 8 })
	stop := make(chan bool)
	var bad sync.WaitGroup
	bad.Go(func() {
		c := client()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			evil := []string{"", "{", `{"prompt": 1}`, `{"n": -1}`, strings.Repeat("[", 1000), `{"model": "../x", "prompt": "x"}`, strings.Repeat(" ", maxBody+1)}
			if status, body := h.post(c, "/v1/completions", evil[i%len(evil)]); status < 400 || status >= 500 {
				t.Errorf("%d %s", status, body)
			}
		}
	})
	c := client()
	var group sync.WaitGroup
	end := time.Now().Add(size(500*time.Millisecond, 30*time.Second))
	for i := range 8 {
		group.Go(func() {
			for time.Now().Before(end) {
				if text, _, status, err := h.streamed(context.Background(), c, prompts[i], 60, 0); err != nil || status != 200 || text != want[i] {
					t.Errorf("stream %d: %d %q %v", i, status, text, err)
				}
			}
		})
	}
	group.Wait()
	close(stop)
	bad.Wait()
}
