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
			k := i % len(prompts)
			for written := false; !written || time.Now().Before(end); { // at least one text each, however late they begin
				text, g, status, err := h.streamed(context.Background(), c, prompts[k], 30, 0)
				switch {
				case err != nil:
					t.Errorf("client %d: %v", i, err)
					return
				case status == http.StatusServiceUnavailable:
					busy.Add(1)
					time.Sleep(5 * time.Millisecond)
				case status != 200 || text != want[k]:
					t.Errorf("client %d: status %d, text %q, want %q", i, status, text, want[k])
					return
				default:
					written = true
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

// TestBurst: of 256 at once, 4 run and 64 wait; the others hear 503 with Retry-After while the first are still at it.
func TestBurst(t *testing.T) {
	h := open(t, nil)
	release := h.hold() // no place becomes free meanwhile: it is known how many are refused
	conns := make([]net.Conn, 256)
	for i := range conns { // open before the burst, and known to the server
		c, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if status, _, err := exchange(c, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"); status != 200 || err != nil {
			t.Fatal(status, err)
		}
		conns[i] = c
	}
	const body = `{"prompt": "A long one", "max_tokens": 150, "ignore_eos": true}`
	request := fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	var group sync.WaitGroup
	var ok, busy, other atomic.Int64
	var mu sync.Mutex
	var waits []time.Duration
	start := make(chan bool)
	for _, c := range conns {
		group.Go(func() {
			<-start
			began := time.Now()
			status, retry, err := exchange(c, request)
			switch {
			case err == nil && status == 200:
				ok.Add(1)
			case err == nil && status == 503 && retry != "":
				busy.Add(1)
				mu.Lock()
				waits = append(waits, time.Since(began))
				mu.Unlock()
			default:
				other.Add(1)
			}
		})
	}
	close(start)
	h.until("188 are refused", func() bool { return busy.Load()+other.Load() == 188 })
	release()
	group.Wait()
	if ok.Load() != 68 || busy.Load() != 188 {
		t.Fatalf("%d answered, %d refused, %d others", ok.Load(), busy.Load(), other.Load())
	}
	slices.Sort(waits)
	t.Logf("%d answered, %d refused: half of them after %v, the slowest after %v", ok.Load(), busy.Load(), waits[len(waits)/2], waits[len(waits)-1])
}

// exchange sends a request and reads its response.
func exchange(c net.Conn, request string) (status int, retry string, err error) {
	if _, err := io.WriteString(c, request); err != nil {
		return 0, "", err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, "", err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return r.StatusCode, r.Header.Get("Retry-After"), err
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
				text, _, status, err := h.streamed(context.Background(), steady, prompts[i], 60, 0)
				switch {
				case status == 503:
					time.Sleep(time.Millisecond)
				case err != nil || text != want[i]:
					t.Errorf("a neighbour gets %d %q %v, want %q", status, text, err, want[i])
					return
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
	h.until("nothing runs or waits after everybody left", func() bool { return len(h.tasks()) == 0 })
	h.until("nobody waits for a text that will not come", func() bool { return h.live.Load() == 0 })
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
		over := func() bool { // the text may be done before anybody looks
			select {
			case <-done:
				return true
			default:
				return false
			}
		}
		h.until("the text is begun", func() bool { return len(h.tasks()) > 0 || over() })
		left := time.Now()
		cancel()
		<-done
		h.until("the place is free", func() bool { return len(h.tasks()) == 0 })
		worst = max(worst, time.Since(left))
	}
	t.Logf("the slowest place was free after %v", worst)
	if *full && worst > 100*time.Millisecond {
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
	for end := time.Now().Add(patience); (g1 > g0+2 || f1 > f0) && time.Now().Before(end); { // closing takes its time
		g1, f1, h1 = measure()
	}
	t.Logf("%d requests: goroutines %d, then %d; descriptors %d, then %d; heap %d, then %d", n, g0, g1, f0, f1, h0, h1)
	if g1 > g0+2 || f1 > f0 || float64(h1) > 1.05*float64(h0)+256<<10 {
		t.Error("something is left behind")
	}
}

// TestSlowReaders: clients that read a byte now and then are dropped by the write limit; others are unharmed.
func TestSlowReaders(t *testing.T) {
	want := solo(t, 40)
	h := open(t, func(o *Options) { o.WriteTimeout = time.Second; o.Parallel = 8 })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx, narrow{l}) }()
	defer func() { stop(); <-done }()
	n := size(6, 50)
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", l.Addr().String())
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
	h.until("slow readers are dropped and lose their places", func() bool { return h.m.cancelled.Load() == int64(n) && len(h.tasks()) == 0 })
}

// narrow gives its connections the smallest send buffers: what a client does not read stays with the server.
type narrow struct{ net.Listener }

func (l narrow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetWriteBuffer(1024)
	}
	return c, err
}

// TestStalled: sockets whose headers or bodies never end are closed; a normal client is answered all the while.
func TestStalled(t *testing.T) {
	h := open(t, func(o *Options) { o.HeaderTimeout, o.BodyTimeout = 2*time.Second, 2*time.Second })
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
			for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
			}
			t.Error("a stalled socket stays open")
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
	h := open(t, func(o *Options) { o.Parallel, o.Drain = 8, patience })
	release := h.hold() // none ends before the server is told to stop
	c := client()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if text, _, status, err := h.streamed(context.Background(), c, prompts[i], 200, 0); err != nil || status != 200 || text != want[i] {
				t.Errorf("stream %d: %d %v", i, status, err)
			}
		})
	}
	h.until("8 texts run or wait", func() bool { return len(h.tasks()) == 8 })
	late, err := net.Dial("tcp", h.addr) // an open connection whose request comes late
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	start := time.Now()
	h.stop()
	h.until("new texts are refused", func() bool {
		p := h.serving().pool
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.closing
	})
	body := `{"prompt": "x"}`
	fmt.Fprintf(late, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if line, err := bufio.NewReader(late).ReadString('\n'); !strings.Contains(line, " 503 ") {
		t.Errorf("a late request gets %q %v", line, err)
	}
	release()
	group.Wait()
	select {
	case err := <-h.done:
		if err != nil {
			t.Error(err)
		}
		h.done <- nil
	case <-time.After(patience):
		t.Fatal("the server does not stop")
	}
	t.Logf("stopped after %v", time.Since(start))
}

// TestDrainEnds: texts that take longer than the drain, running or waiting, are ended with an error, not waited for.
func TestDrainEnds(t *testing.T) {
	h := open(t, func(o *Options) { o.Parallel, o.Drain = 1, time.Millisecond })
	release := h.hold()
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if _, _, status, err := h.streamed(context.Background(), client(), "A", 500, 0); err == nil && status != 503 {
				t.Errorf("a text that was ended gets %d", status)
			}
		})
	}
	h.until("3 texts run or wait", func() bool { return len(h.tasks()) == 3 })
	h.stop()
	h.until("the drain ends all", func() bool { return h.cancelled(3) })
	release()
	group.Wait()
	if err := <-h.done; err != nil {
		t.Error(err)
	}
	h.done <- nil
}

// TestTimes: requests that take too long, or get no token in time, end with a 504 wherever they are: running, waiting,
// and waiting while others join the queue. Their places are free.
func TestTimes(t *testing.T) {
	for what, limit := range map[string]func(*Options){
		"took too long": func(o *Options) { o.Total = 20 * time.Millisecond },
		"in time":       func(o *Options) { o.FirstToken = 20 * time.Millisecond },
	} {
		h := open(t, func(o *Options) { o.Parallel, o.Queue = 1, 2; limit(o) })
		release := h.hold()
		var group sync.WaitGroup
		ask := func() *atomic.Bool {
			answered := new(atomic.Bool)
			group.Go(func() {
				if status, body := h.post(client(), "/v1/completions", `{"prompt": "A", "max_tokens": 500, "ignore_eos": true}`); status != http.StatusGatewayTimeout || !strings.Contains(body, what) {
					t.Errorf("%s: %d %s", what, status, body)
				}
				answered.Store(true)
			})
			return answered
		}
		ask()
		h.until("one runs", func() bool { return h.gauges().running == 1 })
		second := ask()
		h.until("one runs and one waits, both over time", func() bool { return h.cancelled(2) })
		ask() // takes the place of the second
		h.until("the second hears that it has lost its place", second.Load)
		h.until("the third is over time as well", func() bool { return h.cancelled(2) })
		release()
		group.Wait()
		if n := len(h.tasks()); n != 0 {
			t.Errorf("%d places are taken", n)
		}
	}
}

// TestQueueTellsEnds: a cancelled task in the queue hears its end, once, whoever comes upon it and wherever it stands.
func TestQueueTellsEnds(t *testing.T) {
	fresh := func() *task {
		k := &task{events: make(chan event, 8)}
		k.ctx, k.cancel = context.WithCancelCause(context.Background())
		return k
	}
	for name, meet := range map[string]func(*pool) error{
		"submit": func(p *pool) error { return p.submit(fresh()) },
		"admit":  func(p *pool) error { p.admit(); return nil },
	} {
		// no loop runs here, and the one place is taken
		p := &pool{o: &Options{Queue: 2}, m: newMetrics(), wake: make(chan struct{}, 1), slots: []*slot{{t: fresh()}}}
		first, second := fresh(), fresh()
		if err := p.submit(first, second); err != nil {
			t.Fatal(err)
		}
		second.cancel(errSlow)
		if err := meet(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p.admit()
		if len(first.events) != 0 || len(second.events) != 1 {
			t.Fatalf("%s: %d events for the task that waits, %d for the one that was cancelled; want 0 and 1", name, len(first.events), len(second.events))
		}
		if e := <-second.events; !e.done || e.err != errSlow {
			t.Errorf("%s: %+v", name, e)
		}
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
			for once := true; once || time.Now().Before(end); once = false {
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
