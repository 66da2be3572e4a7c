// Package models gives tests a tiny checkpoint of every family.
package models

import (
	"embed"
	"encoding/json"
	"io/fs"
	"math"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

//go:embed configs/*.json
var configs embed.FS

// Names returns the names of the tiny configurations: one or more for each family.
func Names() []string {
	entries, err := fs.ReadDir(configs, "configs")
	if err != nil {
		panic(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// Config returns a tiny configuration.
func Config(t testing.TB, name string) *model.Config {
	t.Helper()
	data, err := configs.ReadFile("configs/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := model.ParseConfig(name+"/config.json", data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Keys returns the keys and values of a tiny configuration.
func Keys(t testing.TB, name string) map[string]any {
	t.Helper()
	data, err := configs.ReadFile("configs/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(data, &keys); err != nil {
		t.Fatal(err)
	}
	return keys
}

// JSON returns a tiny configuration with some keys changed; a nil value deletes the key.
func JSON(t testing.TB, name string, change map[string]any) []byte {
	t.Helper()
	keys := Keys(t, name)
	for k, v := range change {
		if keys[k] = v; v == nil {
			delete(keys, k)
		}
	}
	data, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Variant reads a tiny configuration with some keys changed.
func Variant(t testing.TB, name string, change map[string]any) *model.Config {
	t.Helper()
	c, err := model.ParseConfig(name, JSON(t, name, change))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Model returns a tiny model with lively random weights: matrices scaled to keep activations near 1, norms and biases
// away from their neutral values, so that no weight is without effect.
func Model(t testing.TB, name string, seed uint64) *model.Model {
	t.Helper()
	return Of(t, Config(t, name), seed)
}

// Of returns such a model of a configuration.
func Of(t testing.TB, c *model.Config, seed uint64) *model.Model {
	t.Helper()
	m, err := lively(c, seed)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func lively(c *model.Config, seed uint64) (*model.Model, error) {
	m := model.Random(c, seed)
	changed := map[*model.Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		v, err := m.Tensor(w).Float32()
		if err != nil {
			return nil, err
		}
		s := rng.New(seed, rng.Hash(w.Name), 1<<32)
		shape := w.Shape()
		for i := range v {
			switch w.Role {
			case model.RoleVector:
				v[i] += float32(0.2 * s.Normal())
			case model.RoleEmbed:
				v[i] = float32(0.5 * s.Normal())
			default:
				v[i] = float32(s.Normal() / sqrt(shape[len(shape)-1]))
			}
		}
		changed[w] = tensor.FromFloat32(w.Name, shape, v)
	}
	return m.With(changed), nil
}

func sqrt(n int) float64 { return math.Sqrt(float64(n)) }
