package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/parelm/pare/model/gguf"
	"github.com/parelm/pare/model/tensor"
)

// keptConfig is the metadata key under which pare's own GGUF files keep the config.json they came from. llama.cpp ignores
// it; with it, the way back is exact.
const keptConfig = "pare.config"

// keptTensor is the prefix of keys that hold a tensor's original values where the dialect stores others and float32
// arithmetic cannot undo the change.
const keptTensor = "pare.original."

// ggufSlots lists the stored tensors of a GGUF file.
func ggufSlots(g *Graph, f *Family) []slot {
	out := slots(g, override(standardGGUF, f.ggufDiff))
	for i := range out {
		s := &out[i]
		if f.PermuteQK && (strings.HasSuffix(s.Site, ".attn.q") || strings.HasSuffix(s.Site, ".attn.k")) {
			s.permute = s.weights[0].Dims[0].Block
		}
	}
	return out
}

// openGGUF opens a GGUF file.
func openGGUF(path string) (*Model, error) {
	file, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	if kind, err := file.Metadata().String("general.type"); err == nil && kind == "adapter" {
		m, err := openLoRA(path, file)
		if err != nil {
			file.Close()
		}
		return m, err
	}
	m, err := fromGGUF(path, file)
	if err != nil {
		file.Close()
		return nil, err
	}
	m.close, m.files = append(m.close, file), file.Files()
	return m, nil
}

func fromGGUF(path string, file *gguf.File) (*Model, error) {
	c, err := ggufConfig(path, file)
	if err != nil {
		return nil, err
	}
	m := &Model{Config: c, Graph: Draw(c), Path: path, Warnings: c.hf.warnings, side: side{meta: file.Metadata()}}
	all := ggufSlots(m.Graph, c.Family)
	err = m.assemble(slices.Values(all), func(name string) (*tensor.Tensor, bool) { return file.Tensor(name) })
	if err != nil {
		return nil, err
	}
	return m, m.restore(all, file.Metadata())
}

// restore undoes the changes of value that the dialect makes, from the kept originals where there are any.
func (m *Model) restore(all []slot, meta *gguf.Metadata) error {
	for i := range all {
		s := &all[i]
		if !s.PlusOne && !s.NegExp {
			continue
		}
		w := s.weights[0]
		if meta.Has(keptTensor + s.name) {
			v, err := meta.Floats(keptTensor + s.name)
			if err != nil {
				return err
			}
			if len(v) != w.Len() {
				return tensor.Errorf(ErrCorrupt, m.Path, fmt.Sprintf("key %q", keptTensor+s.name), "has %d values, %s has %d", len(v), w.Name, w.Len())
			}
			m.tensors[w] = tensor.FromFloat32(w.Name, w.Shape(), v)
			continue
		}
		t := m.tensors[w]
		m.tensors[w] = tensor.Map(w.Name, t, t.Codec, s.undo)
	}
	return nil
}

// ggufConfig reads the configuration: from the kept config.json, or from one made of the metadata.
func ggufConfig(path string, file *gguf.File) (*Config, error) {
	meta := file.Metadata()
	arch, err := meta.String("general.architecture")
	if err != nil {
		return nil, err
	}
	if meta.Has(keptConfig) {
		text, err := meta.String(keptConfig)
		if err != nil {
			return nil, err
		}
		c, err := ParseConfig(path+": "+keptConfig, []byte(text))
		if err != nil {
			return nil, err
		}
		if c.Family.gguf() != arch {
			return nil, tensor.Errorf(ErrCorrupt, path, `key "general.architecture"`, "is %q, %s says %q", clip(arch), keptConfig, c.Family.gguf())
		}
		return c, nil
	}
	r := &ggufReader{path: path, file: file, meta: meta, arch: arch}
	f := r.family()
	if f == nil {
		return nil, tensor.Errorf(ErrUnsupported, path, `key "general.architecture"`, "is %q%s; known are %s", clip(arch), refusal(arch), strings.Join(ggufArchitectures(), ", "))
	}
	o := r.config(f)
	if r.err != nil {
		return nil, r.err
	}
	c, err := f.read(o)
	if err != nil {
		return nil, err
	}
	r.perLayer(c)
	if r.err != nil {
		return nil, r.err
	}
	return c, c.check(path)
}

func ggufArchitectures() []string {
	names := map[string]bool{}
	for _, f := range families {
		names[f.gguf()] = true
	}
	return sortedKeys(names)
}
