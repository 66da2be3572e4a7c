package serve

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHTTP sends requests that mean harm or make no sense, each beside a good one that must still be answered.
func TestHTTP(t *testing.T) {
	h := open(t, nil)
	hasty := open(t, func(o *Options) { o.BodyTimeout = 500 * time.Millisecond })
	keyed := open(t, func(o *Options) { o.Key = "secret" })
	big := strings.Repeat("A", maxBody)
	chatWith := func(fields string) string {
		return `{"messages": [{"role": "user", "content": "x"}], "max_tokens": 2` + fields + `}`
	}
	messages := func(n int) string {
		return `{"max_tokens": 1, "messages": [` + strings.TrimSuffix(strings.Repeat(`{"role": "user", "content": ""},`, n), ",") + `]}`
	}
	for _, c := range []struct {
		id, path, body string
		status         int
		want           string
	}{
		{"H01 no body", "/v1/completions", "", 400, "the body is empty"},
		{"H01 spaces", "/v1/completions", "  \n", 400, "the body is empty"},
		{"H02 a byte too many", "/v1/completions", strings.Repeat(" ", maxBody+1), 413, "over 1048576 bytes"},
		{"H04 depth 33", "/v1/completions", `{"prompt": ` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, 400, "nested deeper than 32"},
		{"H04 depth 10^5", "/v1/completions", strings.Repeat(`{"a":`, 100000), 400, "nested deeper than 32"},
		{"H05 unknown field", "/v1/completions", `{"prompt": "x", "promt": 1}`, 400, `unknown field \"promt\"`},
		{"H05 unknown in a message", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "x", "path": "/etc"}]}`, 400, `unknown field \"path\"`},
		{"H05 not JSON", "/v1/completions", `{"prompt": }`, 400, "no JSON object"},
		{"H05 two objects", "/v1/completions", `{"prompt": "x"} {}`, 400, "text follows"},
		{"H05 a list", "/v1/completions", `[]`, 400, "cannot be"},
		{"H06 n 0", "/v1/chat/completions", chatWith(`, "n": 0`), 400, "n is 0: want 1 to 4"},
		{"H06 n -1", "/v1/chat/completions", chatWith(`, "n": -1`), 400, "want 1 to 4"},
		{"H06 n 10^6", "/v1/chat/completions", chatWith(`, "n": 1000000`), 400, "want 1 to 4"},
		{"H06 n text", "/v1/chat/completions", chatWith(`, "n": "two"`), 400, "n cannot be a string"},
		{"H07 max_tokens -1", "/v1/completions", `{"prompt": "x", "max_tokens": -1}`, 400, "max_tokens is -1"},
		{"H07 max_tokens 0", "/v1/completions", `{"prompt": "x", "max_tokens": 0}`, 400, "max_tokens is 0"},
		{"H07 max_tokens 2^63", "/v1/completions", `{"prompt": "x", "max_tokens": 9223372036854775808}`, 400, "max_tokens"},
		{"H07 max_tokens over the context", "/v1/completions", `{"prompt": "x", "max_tokens": 100000}`, 400, "the model's context is 512"},
		{"H08 temperature -1", "/v1/completions", `{"prompt": "x", "temperature": -1}`, 400, "temperature is -1: want 0 to 2"},
		{"H08 temperature NaN", "/v1/completions", `{"prompt": "x", "temperature": NaN}`, 400, "no JSON object"},
		{"H08 temperature 1e308", "/v1/completions", `{"prompt": "x", "temperature": 1e308}`, 400, "want 0 to 2"},
		{"H08 temperature 1e999", "/v1/completions", `{"prompt": "x", "temperature": 1e999}`, 400, "temperature"},
		{"H09 top_p 0", "/v1/completions", `{"prompt": "x", "top_p": 0}`, 400, "top_p is 0"},
		{"H09 top_p 2", "/v1/completions", `{"prompt": "x", "top_p": 2}`, 400, "top-p 2: want 0 to 1"},
		{"H09 min_p -1", "/v1/completions", `{"prompt": "x", "min_p": -1}`, 400, "min-p -1: want 0 to 1"},
		{"H09 penalty", "/v1/completions", `{"prompt": "x", "presence_penalty": 3}`, 400, "want -2 to 2"},
		{"H09 bias", "/v1/completions", `{"prompt": "x", "logit_bias": {"-1": 5}}`, 400, "logit_bias"},
		{"H10 no messages", "/v1/chat/completions", `{"messages": []}`, 400, "messages is empty"},
		{"H10 1025 messages", "/v1/chat/completions", messages(1025), 400, "1025 messages, the limit is 1024"},
		{"H11 role", "/v1/chat/completions", `{"messages": [{"role": "root", "content": "x"}]}`, 400, `has the role \"root\"`},
		{"H11 no role", "/v1/chat/completions", `{"messages": [{"content": "x"}]}`, 400, "has the role"},
		{"H12 content of 0 bytes", "/v1/chat/completions", `{"messages": [{"role": "user", "content": ""}], "max_tokens": 1}`, 200, "choices"},
		{"H12 content null", "/v1/chat/completions", `{"messages": [{"role": "user", "content": null}], "max_tokens": 1}`, 200, "choices"},
		{"H12 content of 1 MiB", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "` + big + `"}]}`, 413, "over 1048576 bytes"},
		{"H12 content just below", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "` + big[:maxBody-100] + `"}]}`, 400, "nothing is cut off silently"},
		{"H12 an image", "/v1/chat/completions", `{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]}`, 400, "reads text alone"},
		{"H12 empty prompt", "/v1/completions", `{"prompt": []}`, 400, "the prompt is empty"},
		{"H12 no prompt", "/v1/completions", `{}`, 400, "prompt must be"},
		{"H12 prompts of another kind", "/v1/completions", `{"prompt": ["a", 1]}`, 400, "prompt must be"},
		{"H12 token ids", "/v1/completions", `{"prompt": [1, 999999]}`, 400, "token 999999: the vocabulary has"},
		{"H12 33 prompts", "/v1/completions", `{"prompt": [` + strings.Repeat(`"a",`, 32) + `"b"]}`, 400, "33 prompts, the limit is 32"},
		{"H12 128 texts", "/v1/completions", `{"n": 4, "prompt": [` + strings.Repeat(`"a",`, 31) + `"b"]}`, 400, "128 texts are asked for"},
		{"H13 model", "/v1/completions", `{"prompt": "x", "model": "../x"}`, 404, `has the model \"tiny\" alone`},
		{"H14 path", "/v1/complete", `{}`, 404, "nothing at this address"},
		{"H14 path up", "/v1/../../etc/passwd", `{}`, 404, "nothing at this address"},
		{"stop of 300 bytes", "/v1/completions", `{"prompt": "x", "stop": "` + strings.Repeat("s", 300) + `"}`, 400, "want 1 to 256"},
		{"nine stops", "/v1/completions", `{"prompt": "x", "stop": ["1","2","3","4","5","6","7","8","9"]}`, 400, "the limit is 8"},
		{"top_logprobs 21", "/v1/chat/completions", chatWith(`, "logprobs": true, "top_logprobs": 21`), 400, "want 0 to 20"},
		{"template variables", "/v1/chat/completions", chatWith(`, "chat_template_kwargs": {"x": "` + strings.Repeat("y", 5000) + `"}`), 400, "over 4 KiB"},
		{"schema", "/v1/chat/completions", chatWith(`, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "a"}}}`), 400, `keyword \"pattern\" is not supported`},
		{"format", "/v1/chat/completions", chatWith(`, "response_format": {"type": "xml"}`), 400, "want text, json_object or json_schema"},
		{"grammar", "/v1/completions", `{"prompt": "x", "grammar": "root ::= root"}`, 400, "begins with itself"},
		{"tool choice", "/v1/chat/completions", chatWith(`, "tool_choice": "required"`), 400, "there are none"},
	} {
		t.Run(c.id, func(t *testing.T) {
			start := time.Now()
			status, body := h.post(client(), c.path, c.body)
			if status != c.status || !strings.Contains(body, c.want) || status != 200 && !strings.Contains(body, `"error":{"message":`) {
				t.Errorf("%d %.300s, want %d %q", status, body, c.status, c.want)
			}
			if took := time.Since(start); *full && took > 3*time.Second { // a second on a machine that does nothing else
				t.Errorf("took %v", took)
			}
		})
	}
	raw := func(id, addr, request string, wants ...string) {
		t.Run(id, func(t *testing.T) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(c).ReadString('\n')
			for _, w := range wants {
				if strings.Contains(line, w) || w == "closed" && err == io.EOF {
					return
				}
			}
			t.Errorf("%q (%v), want one of %q", line, err, wants)
		})
	}
	const post = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	const good = `{"prompt": "x", "max_tokens": 1}`
	length := fmt.Sprintf("Content-Length: %d\r\n", len(good))
	raw("H03 chunks without end", hasty.addr, post+"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"pro\r\n", " 408 ", "closed")
	raw("H03 body too short", hasty.addr, post+"Content-Length: 100\r\n\r\n{", " 408 ", "closed")
	raw("H14 method", h.addr, "PUT /v1/completions HTTP/1.1\r\nHost: localhost\r\n\r\n", " 405 ")
	raw("H14 method get", h.addr, "GET /v1/completions HTTP/1.1\r\nHost: localhost\r\n\r\n", " 405 ")
	raw("H14 content type", h.addr, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"+length+"\r\n"+good, " 415 ")
	raw("H15 two lengths", h.addr, post+"Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}", " 400 ")
	raw("H15 transfer coding", h.addr, post+"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", " 400 ", " 501 ")
	raw("H15 a length that is none", h.addr, post+"Content-Length: -1\r\n\r\n", " 400 ")
	raw("H16 no host", h.addr, "POST /v1/completions HTTP/1.1\r\n"+length+"\r\n"+good, " 400 ")
	raw("H16 foreign host", h.addr, "GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", " 403 ")
	raw("H16 foreign origin", h.addr, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n", " 403 ")
	raw("H16 null origin", h.addr, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", " 403 ")
	raw("H16 own origin", h.addr, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:5173\r\n\r\n", " 200 ")
	raw("H16 preflight", h.addr, "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:5173\r\n\r\n", " 204 ")
	raw("H17 no key", keyed.addr, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", " 401 ")
	raw("H17 wrong key", keyed.addr, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secrex\r\n\r\n", " 401 ")
	raw("H17 no scheme", keyed.addr, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: secret\r\n\r\n", " 401 ")
	raw("H17 right key", keyed.addr, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n\r\n", " 200 ")
	raw("H17 health needs none", keyed.addr, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", " 200 ")
	raw("H18 HTTP/1.0", h.addr, "POST /v1/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"+length+"\r\n"+good, " 200 ")
	raw("H18 h2c preface", h.addr, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", " 400 ", " 403 ", " 404 ", " 505 ", "closed")
	raw("header of 64 KiB", h.addr, "GET /health HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n", " 431 ")
	raw("good", h.addr, post+length+"\r\n"+good, " 200 ")
	if n := h.gauges().running; n != 0 {
		t.Errorf("%d tasks are left", n)
	}
}

// TestEndpoints asks for what is not a completion.
func TestEndpoints(t *testing.T) {
	h := open(t, nil)
	if _, err := h.complete(client(), "x", 3); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/health": `{"status":"ok"}`, "/v1/models": `"id":"tiny"`, "/v1/models/tiny": `"context_length":512`,
		"/metrics": "pare_generation_tokens_total{model_name=\"tiny\"} 3\n"} {
		r, err := client().Get("http://" + h.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 || !strings.Contains(string(data), want) {
			t.Errorf("%s: %d %s (%v)", path, r.StatusCode, data, err)
		}
	}
}

// TestPanic: a request that meets a panic gets a 500, others are unharmed.
func TestPanic(t *testing.T) {
	quiet(t)
	h := open(t, nil)
	h.tap = func(r *http.Request) {
		if r.Header.Get("X-Panic") != "" {
			panic("injected")
		}
	}
	for range 20 {
		r, err := http.NewRequest(http.MethodPost, "http://"+h.addr+"/v1/completions", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Panic", "1")
		a, err := client().Do(r)
		if err != nil || a.StatusCode != 500 {
			t.Fatalf("%v %v", a, err)
		}
		a.Body.Close()
		if _, err := h.complete(client(), "x", 2); err != nil {
			t.Fatal(err)
		}
	}
	if h.m.panics.Load() != 20 {
		t.Errorf("%d panics counted", h.m.panics.Load())
	}
}

// quiet keeps what the server logs out of the test's output.
func quiet(t *testing.T) {
	old := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(old) })
}

func TestKeyNeeded(t *testing.T) {
	h := open(t, nil)
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	if err := h.Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "needs a key") {
		t.Error(err)
	}
}
