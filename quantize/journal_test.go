package quantize

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// memory is a journal that breaks after some saves, as a killed process would.
type memory struct {
	files map[string][]byte
	left  int
}

var errKilled = errors.New("killed")

func (m *memory) Save(name string, write func(w io.Writer) error) error {
	if m.left--; m.left < 0 {
		return errKilled
	}
	var b bytes.Buffer
	err := write(&b)
	m.files[name] = b.Bytes()
	return err
}

func (m *memory) Open(name string) (JournalFile, error) {
	if data, ok := m.files[name]; ok {
		return file{bytes.NewReader(data)}, nil
	}
	return nil, nil
}

type file struct{ *bytes.Reader }

func (file) Close() error { return nil }

func all(t *testing.T, m *model.Model) []byte {
	t.Helper()
	var b []byte
	for _, w := range m.Graph.Weights {
		b = append(b, raw(t, m.Tensor(w))...)
	}
	return b
}

// TestResume breaks a run off after every number of finished matrices and expects the same bytes of those that go on.
func TestResume(t *testing.T) {
	m := models.Model(t, "llama", 3)
	for _, name := range []string{"rtn", "gptq", "awq", "smoothquant"} {
		a, err := New(name)
		if err != nil {
			t.Fatal(err)
		}
		s := Settings{Format: "q4_0", AllowFallback: true}
		whole, _, err := Run(context.Background(), m, s, a, Options{Samples: samples})
		if err != nil {
			t.Fatal(err)
		}
		want := all(t, whole)
		for k := 0; ; k++ {
			j := &memory{files: map[string][]byte{}, left: k}
			_, _, err := Run(context.Background(), m, s, a, Options{Samples: samples, Journal: j})
			if err != nil && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			finished := err == nil
			j.left = 1000
			q, r, err := Run(context.Background(), m, s, a, Options{Samples: samples, Journal: j})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(all(t, q), want) {
				t.Fatalf("%s: other bytes when broken off after %d matrices", name, k)
			}
			if finished {
				if r.Resumed != len(r.Tensors) {
					t.Errorf("%s: %d of %d matrices taken over from a finished run", name, r.Resumed, len(r.Tensors))
				}
				break
			}
		}
	}
}
