package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/measure"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/quantize"
)

// benchModel returns what opens the model to measure.
func benchModel(ctx context.Context, e *env, c *cli.Context) (func() (*model.Model, error), error) {
	config := c.String("config")
	if config == "" {
		ref, err := one(c, "one MODEL, or --config FILE")
		return func() (*model.Model, error) { return openModel(ctx, e, ref) }, err
	}
	if c.NArg() > 0 {
		return nil, usage("%s: give a MODEL or --config FILE", c.Command.HelpName)
	}
	return func() (*model.Model, error) {
		m, err := model.OpenConfig(config)
		if err != nil {
			return nil, err
		}
		return patterned(m, c.String("format"))
	}, nil
}

// benchWrite writes the random model.
func benchWrite(ctx context.Context, e *env, c *cli.Context, open func() (*model.Model, error)) error {
	if c.String("config") == "" || !isGGUF(c.String("out")) {
		return usage("-o writes the random model of --config FILE, and its name ends in .gguf")
	}
	t, err := target(c, c.String("config"))
	if err != nil {
		return err
	}
	m, err := open()
	if err != nil {
		return err
	}
	defer m.Close()
	mix := strings.ToLower(c.String("format"))
	n, err := write(ctx, t, m, mix, store.Manifest{})
	if err != nil {
		return err
	}
	about := measure.Describe("", m)
	v := written{Path: t.Path, Bytes: n, Type: about.Format, Parameters: about.Parameters, BitsPerWeight: about.BitsPerWeight}
	return e.print(&v, v.print)
}

// patterned returns a model of m's shapes in a format, its matrices made of few random rows that repeat: encoding all of
// a large model would take longer than measuring it, and speed does not depend on the values.
func patterned(m *model.Model, format string) (*model.Model, error) {
	tensors := map[*model.Weight]*tensor.Tensor{}
	type shape struct {
		codec string
		cols  int
	}
	made := map[shape]pattern{}
	put := func(w *model.Weight, f codec.Codec) {
		t := &tensor.Tensor{Name: w.Name, Codec: f, Shape: w.Shape()}
		key := shape{f.Name(), t.Cols()}
		if _, ok := made[key]; !ok {
			const rows = 16
			x, s := make([]float32, t.Cols()), rng.New(1)
			p := pattern{row: t.RowBytes()}
			for range rows {
				for i := range x {
					x[i] = float32(0.02 * s.Normal())
				}
				b := make([]byte, p.row)
				f.Encode(b, x, nil)
				p.data = append(p.data, b...)
			}
			made[key] = p
		}
		t.Src = made[key]
		tensors[w] = t
	}
	if plain, err := codec.Lookup(strings.ToLower(format)); err == nil && slices.Contains([]string{"f32", "f16", "bf16"}, plain.Name()) {
		for _, w := range m.Graph.Weights {
			if w.Role != model.RoleVector {
				put(w, plain)
			}
		}
		return m.With(tensors), nil
	}
	choices, err := quantize.Plan(m, quantize.Settings{Format: format, Algorithm: "rtn", AllowFallback: true})
	if err != nil {
		return nil, err
	}
	for _, ch := range choices {
		if ch.Codec != nil {
			put(ch.Weight, ch.Codec)
		}
	}
	return m.With(tensors), nil
}

// pattern reads as its rows over and over.
type pattern struct {
	data []byte
	row  int
}

func (p pattern) ReadRows(dst []byte, lo, _ int) error {
	at := lo * p.row % len(p.data)
	for n := 0; n < len(dst); at = 0 {
		n += copy(dst[n:], p.data[at:])
	}
	return nil
}
