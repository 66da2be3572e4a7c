package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/runtime/serve"
)

func init() {
	register(&cli.Command{
		Name: "serve", Usage: "answer HTTP requests in the form of OpenAI's interface",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
Serves /v1/chat/completions and /v1/completions (also as a stream of events), /v1/models, /health and /metrics. Many
requests are written at once; what they say does not depend on their company. It listens on this machine alone; any other address needs a key,
from --api-key-file or the variable PARE_API_KEY. With --draft, a smaller model of the same tokens drafts what MODEL checks several
at a time: faster, and no text changes; a request turns it off with "speculative.n_max": 0.

/health says loading, ok or stopping. SIGHUP reads MODEL (and the draft) again from the same place: running answers end with the
old one, later ones come from the new one, and where that fails the old one stays. Ctrl-C lets running answers end, for at most
ten seconds.

examples
  pare serve q4.gguf
  pare serve ./model --addr 127.0.0.1:9000 --parallel 8 --name student
  pare serve teacher.gguf --draft student.gguf --cache q8_0
  PARE_API_KEY=secret pare serve q4.gguf --addr 0.0.0.0:8080 --host-name box.local
  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \
    -d '{"messages": [{"role": "user", "content": "Hello"}], "stream": true}'`,
		Flags: slices.Concat(memoryFlags(), []cli.Flag{
			&cli.StringFlag{Name: "addr", Value: "127.0.0.1:8080", Usage: "listen at `HOST:PORT`; port 0 takes a free one"},
			&cli.StringFlag{Name: "name", Usage: "call the model `NAME`", DefaultText: "that of the file"},
			&cli.IntFlag{Name: "parallel", Value: 4, Usage: "write `N` texts at once"},
			&cli.IntFlag{Name: "queue", Value: 64, Usage: "let `N` texts wait; further ones hear 503"},
			&cli.StringFlag{Name: "draft", Usage: "a smaller `MODEL` that drafts for this one"},
			&cli.IntFlag{Name: "draft-tokens", Value: 4, Usage: "draft at most `K` tokens at a time"},
			&cli.StringFlag{Name: "template", Usage: "talk with this chat template: `FILE`, chatml or plain", DefaultText: "the checkpoint's"},
			&cli.StringFlag{Name: "api-key-file", Usage: "clients must send the key in `FILE` as bearer token"},
			&cli.StringSliceFlag{Name: "host-name", Usage: "the server is reached as `NAME`, besides localhost and addresses"},
			&cli.StringSliceFlag{Name: "origin", Usage: "web pages of `ORIGIN` may use the server"},
		}),
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
	if k := c.Int("draft-tokens"); k < 1 || k > 64 {
		return usage("--draft-tokens %d: want 1 to 64", k)
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
	s, err := serve.New(serve.Options{Key: key, Hosts: c.StringSlice("host-name"), Origins: c.StringSlice("origin"),
		Parallel: c.Int("parallel"), Queue: c.Int("queue"), Drafted: c.Int("draft-tokens")})
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	var group sync.WaitGroup
	group.Go(func() { // beside Serve, which says meanwhile that it is loading
		m, err := loadServed(ctx, e, c, ref)
		if err == nil {
			defer func() { m.Close() }()
			err = s.Use(ctx, m.Model)
		}
		if err != nil {
			fail(err)
			return
		}
		e.note(fmt.Sprintf("serving %s at http://%s/v1: %d texts at once, %d tokens each, up to %s for their keys and values", m.Name, l.Addr(), c.Int("parallel"), m.Engine.Context(),
			report.Bytes(m.Engine.CacheBytes(m.Engine.Context())*int64(c.Int("parallel")))))
		for {
			select {
			case <-ctx.Done():
				return
			case <-again:
			}
			m = reload(ctx, e, c, ref, s, m)
		}
	})
	err = s.Serve(ctx, l)
	fail(nil)
	group.Wait()
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// reload puts what the model's files hold now in the place of old and returns what is served.
func reload(ctx context.Context, e *env, c *cli.Context, ref string, s *serve.Server, old *servedModel) *servedModel {
	e.note("reading " + ref + " again")
	m, err := loadServed(ctx, e, c, ref)
	if err == nil {
		if err = s.Use(ctx, m.Model); err == nil {
			old.Close()
			e.note("serving what " + ref + " holds now")
			return m
		}
		m.Close()
	}
	slog.Error("the model could not be read again; the old one stays", "error", err)
	return old
}

// servedModel is a model to serve, with its files.
type servedModel struct {
	serve.Model
	files []io.Closer
}

func (m *servedModel) Close() {
	for _, f := range m.files {
		f.Close()
	}
}

// loadServed loads MODEL and its draft.
func loadServed(ctx context.Context, e *env, c *cli.Context, ref string) (m *servedModel, err error) {
	m = &servedModel{}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	l, err := loadForText(ctx, e, c, ref, false)
	if err != nil {
		return m, err
	}
	m.files = append(m.files, l)
	t, stops, note, err := chatTemplate(l.tok, c.String("template"))
	if err != nil {
		return m, err
	}
	if note != "" {
		e.note(note)
	}
	m.Model = serve.Model{Name: c.String("name"), Engine: l.e, Tokenizer: l.tok, Template: t, Stops: stops, EOS: chatEOS(l)}
	if m.Name == "" {
		m.Name = strings.TrimSuffix(filepath.Base(l.Path), ".gguf")
	}
	if c.String("draft") == "" {
		return m, nil
	}
	d, err := loadForText(ctx, e, c, c.String("draft"), false)
	if err != nil {
		return m, err
	}
	m.files = append(m.files, d)
	if d.tok.Fingerprint() != l.tok.Fingerprint() {
		return m, otherTokenizer(c.String("draft"))
	}
	m.Draft = d.e
	return m, nil
}
