package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/runtime"
	"github.com/parelm/pare/runtime/serve"
)

func init() {
	register(&cli.Command{
		Name: "serve", Usage: "answer HTTP requests in the form of OpenAI's interface",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
Serves /v1/chat/completions and /v1/completions (also as a stream of events), /v1/models, /health and /metrics. Many
requests are written at once; what they say does not depend on their company. It listens on this machine alone; any other address needs a key,
from --api-key-file or the variable PARE_API_KEY. Ctrl-C lets running answers end, for at most ten seconds.

examples
  pare serve q4.gguf
  pare serve ./model --addr 127.0.0.1:9000 --parallel 8 --name student
  PARE_API_KEY=secret pare serve q4.gguf --addr 0.0.0.0:8080 --host-name box.local
  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \
    -d '{"messages": [{"role": "user", "content": "Hello"}], "stream": true}'`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "addr", Value: "127.0.0.1:8080", Usage: "listen at `HOST:PORT`; port 0 takes a free one"},
			&cli.StringFlag{Name: "name", Usage: "call the model `NAME`", DefaultText: "that of the file"},
			&cli.IntFlag{Name: "parallel", Value: 4, Usage: "write `N` texts at once"},
			&cli.IntFlag{Name: "queue", Value: 64, Usage: "let `N` texts wait; further ones hear 503"},
			&cli.IntFlag{Name: "context", Usage: "the longest conversation, in `N` tokens", DefaultText: "the model's"},
			&cli.StringFlag{Name: "template", Usage: "talk with this chat template: `FILE`, chatml or plain", DefaultText: "the checkpoint's"},
			&cli.StringFlag{Name: "api-key-file", Usage: "clients must send the key in `FILE` as bearer token"},
			&cli.StringSliceFlag{Name: "host-name", Usage: "the server is reached as `NAME`, besides localhost and addresses"},
			&cli.StringSliceFlag{Name: "origin", Usage: "web pages of `ORIGIN` may use the server"},
		},
		Action: action(serveModel),
	})
}

// serveKey returns the key, which is not taken from the command line: others could read it there.
func serveKey(c *cli.Context) (string, error) {
	file := c.String("api-key-file")
	if file == "" {
		return os.Getenv("PARE_API_KEY"), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(data))
	if key == "" {
		return "", fmt.Errorf("%s: holds no key", file)
	}
	return key, nil
}

func serveModel(ctx context.Context, e *env, c *cli.Context) error {
	ref, err := one(c, "one MODEL")
	if err != nil {
		return err
	}
	if c.Int("parallel") < 1 || c.Int("parallel") > 256 || c.Int("queue") < 1 || c.Int("context") < 0 {
		return usage("--parallel %d, --queue %d, --context %d: want 1 to 256, at least 1, at least 1", c.Int("parallel"), c.Int("queue"), c.Int("context"))
	}
	key, err := serveKey(c)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.String("addr")) // before the model: a taken port should not cost its loading
	if err != nil {
		return fmt.Errorf("--addr %s: %w", c.String("addr"), err)
	}
	defer l.Close()
	m, err := openModel(ctx, e, ref)
	if err != nil {
		return err
	}
	defer m.Close()
	engine, err := runtime.Load(ctx, m, runtime.Options{Context: c.Int("context")})
	if err != nil {
		return err
	}
	tok, err := m.Tokenizer()
	if err != nil {
		return err
	}
	t, stops, note, err := chatTemplate(tok, c.String("template"))
	if err != nil {
		return err
	}
	if note != "" {
		e.note(note)
	}
	name := c.String("name")
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(m.Path), ".gguf")
	}
	s, err := serve.New(serve.Options{Name: name, Engine: engine, Tokenizer: tok, Template: t, Stops: stops, EOS: chatEOS(&loaded{Model: m, e: engine, tok: tok}), Key: key,
		Hosts: c.StringSlice("host-name"), Origins: c.StringSlice("origin"), Parallel: c.Int("parallel"), Queue: c.Int("queue")})
	if err != nil {
		return err
	}
	e.note(fmt.Sprintf("serving %s at http://%s/v1: %d texts at once, %d tokens each, up to %s for their keys and values", name, l.Addr(), c.Int("parallel"), engine.Context(),
		report.Bytes(engine.CacheBytes(engine.Context())*int64(c.Int("parallel")))))
	return s.Serve(ctx, l)
}
