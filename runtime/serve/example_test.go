package serve_test

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
	"github.com/parelm/pare/runtime/serve"
)

func Example() {
	if err := example(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 200 OK
	// {"status":"ok"}
	// a text of 5 tokens: true
}

func example() error {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	files, err := models.Files("llama", 1, nil) // a tiny checkpoint; yours is a directory or a .gguf file
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	m, err := model.Open(dir)
	if err != nil {
		return err
	}
	defer m.Close()
	e, err := runtime.Load(context.Background(), m, runtime.Options{Rounding: runtime.RoundFast})
	if err != nil {
		return err
	}
	tok, err := m.Tokenizer()
	if err != nil {
		return err
	}
	s, err := serve.New(serve.Options{Model: serve.Model{Name: "tiny", Engine: e, Tokenizer: tok, EOS: m.EOS()}})
	if err != nil {
		return err
	}
	defer s.Close(context.Background())
	web := httptest.NewServer(s.Handler()) // s.Serve has the time limits of connections, too
	defer web.Close()

	r, err := web.Client().Get(web.URL + "/health")
	if err != nil {
		return err
	}
	defer r.Body.Close()
	fmt.Println(r.Status)
	if _, err := io.Copy(os.Stdout, r.Body); err != nil {
		return err
	}
	a, err := web.Client().Post(web.URL+"/v1/completions", "application/json", strings.NewReader(`{"prompt": "Hello", "max_tokens": 5, "temperature": 0, "ignore_eos": true}`))
	if err != nil {
		return err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		return err
	}
	fmt.Println("a text of 5 tokens:", strings.Contains(string(body), `"completion_tokens":5`))
	return nil
}
