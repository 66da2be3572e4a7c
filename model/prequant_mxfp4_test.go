package model_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
)

// mxfp4Model is a tiny gpt-oss whose experts are four-bit floats.
func mxfp4Model(t *testing.T) *model.Model {
	t.Helper()
	m := models.Of(t, models.Variant(t, "gpt_oss", map[string]any{"hidden_size": 64, "intermediate_size": 32}), 3)
	c, err := codec.Lookup("mxfp4")
	if err != nil {
		t.Fatal(err)
	}
	changed := map[*model.Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		if w.Role == model.RoleMatrix && strings.Contains(w.Name, ".experts.") {
			if changed[w], err = tensor.Convert(m.Tensor(w), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m.With(changed)
}

// TestExpertsMXFP4 writes and reads experts as gpt-oss stores them, and decodes the stored bytes by the format's definition.
func TestExpertsMXFP4(t *testing.T) {
	m := mxfp4Model(t)
	path := t.TempDir()
	if err := m.SaveHF(context.Background(), dir(path)); err != nil {
		t.Fatal(err)
	}
	back, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	for _, w := range m.Graph.Weights {
		a, err := m.Tensor(w).ReadRaw(0, m.Tensor(w).Rows())
		if err != nil {
			t.Fatal(err)
		}
		v := back.Tensor(back.Graph.Weight(w.Name))
		b, err := v.ReadRaw(0, v.Rows())
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is read back as %s with other bytes (%v)", w.Name, v.Codec.Name(), err)
		}
	}
	files, err := safetensors.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	raw := func(name string) ([]byte, []int) {
		v, ok := files.Tensor(name)
		if !ok || v.Codec.Name() != "u8" {
			t.Fatalf("no U8 tensor %s", name)
		}
		b, err := v.ReadRaw(0, v.Rows())
		if err != nil {
			t.Fatal(err)
		}
		return b, v.Shape
	}
	grid := []float64{0, .5, 1, 1.5, 2, 3, 4, 6}
	blocks, shape := raw("model.layers.1.mlp.experts.gate_up_proj_blocks") // [experts, out, in/32, 16]
	scales, _ := raw("model.layers.1.mlp.experts.gate_up_proj_scales")
	gate, err := m.Tensor(m.Graph.Weight("layers.1.mlp.experts.gate")).Float32()
	if err != nil {
		t.Fatal(err)
	}
	up, err := m.Tensor(m.Graph.Weight("layers.1.mlp.experts.up")).Float32()
	if err != nil {
		t.Fatal(err)
	}
	rows, cols := shape[1], 32*shape[2]
	for e := range shape[0] {
		for r := range rows {
			for c := range cols {
				block := (e*rows+r)*shape[2] + c/32
				code := blocks[16*block+c%32/2] >> (4 * (c % 2)) & 15
				v := grid[code&7] * math.Exp2(float64(scales[block])-127)
				if code > 7 {
					v = -v
				}
				want := gate // even rows are the gate's
				if r%2 == 1 {
					want = up
				}
				if got := want[(e*rows/2+r/2)*cols+c]; float64(got) != v {
					t.Fatalf("expert %d, row %d, column %d: stored is %v, the model has %v", e, r, c, v, got)
				}
			}
		}
	}
}

// TestExpertsMXFP4Malformed changes what belongs together.
func TestExpertsMXFP4Malformed(t *testing.T) {
	path := t.TempDir()
	if err := mxfp4Model(t).SaveHF(context.Background(), dir(path)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, says string }{
		{"gate_up_proj_scales", "gate_up_proj_scalez", "gate_up_proj_scales"},
		{"gate_up_proj_blocks", "gate_up_proj_blockz", "gate_up_proj"},
		{"[6,64,2,16]", "[6,64,1,32]", "[experts, out, in/32, 16]"},
		{"[6,64,2,16]", "[6,2,64,16]", "scales"},
		{`"dtype":"U8","shape":[6,64,2,16]`, `"dtype":"I8","shape":[6,64,2,16]`, "must be U8"},
	} {
		broken := t.TempDir()
		for _, name := range []string{"config.json", "model.safetensors"} {
			data, err := os.ReadFile(filepath.Join(path, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(broken, name), bytes.ReplaceAll(data, []byte(c.from), []byte(c.to)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		_, err := model.Open(broken)
		if !errors.Is(err, model.ErrCorrupt) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s for %s: %v", c.to, c.from, err)
		}
	}
}

// TestGptOss reads the published configuration of gpt-oss-20b.
func TestGptOss(t *testing.T) {
	data := `{"architectures":["GptOssForCausalLM"], "attention_bias":true, "attention_dropout":0.0, "eos_token_id":200002, "experts_per_token":4,
		"head_dim":64, "hidden_act":"silu", "hidden_size":2880, "initial_context_length":4096, "initializer_range":0.02, "intermediate_size":2880,
		"max_position_embeddings":131072, "model_type":"gpt_oss", "num_attention_heads":64, "num_experts_per_tok":4, "num_hidden_layers":24,
		"num_key_value_heads":8, "num_local_experts":32, "output_router_logits":false, "pad_token_id":199999, "quantization_config":{"modules_to_not_convert":
		["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"], "quant_method":"mxfp4"}, "rms_norm_eps":1e-05,
		"rope_scaling":{"beta_fast":32.0, "beta_slow":1.0, "factor":32.0, "original_max_position_embeddings":4096, "rope_type":"yarn", "truncate":false},
		"rope_theta":150000, "router_aux_loss_coef":0.9, "sliding_window":128, "swiglu_limit":7.0, "tie_word_embeddings":false, "use_cache":true, "vocab_size":201088}`
	c, err := model.ParseConfig("config.json", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for _, w := range model.Draw(c).Weights {
		n += int64(w.Len())
	}
	if l := c.Layers[0]; n != 20_914_757_184 || l.Window != 128 || c.Layers[1].Window != 0 || l.ExpertLimit != 7 || l.Rope.Scaling.Factor != 32 || !l.Rope.Scaling.NoTruncate {
		t.Errorf("%d parameters, first layer %+v", n, l)
	}
	for change, says := range map[string]string{
		`"swiglu_limit":0.0`: "swiglu_limit", `"swiglu_limit":-1`: "swiglu_limit", `"hidden_act":"gelu"`: "hidden_act", `"num_experts_per_tok":40`: "experts",
	} {
		var keys map[string]json.RawMessage
		if err := json.Unmarshal([]byte(data), &keys); err != nil {
			t.Fatal(err)
		}
		delete(keys, "experts_per_token")
		if err := json.Unmarshal([]byte("{"+change+"}"), &keys); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := model.ParseConfig("config.json", text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", change, err)
		}
	}
}

// TestStackedExpertsPacked says what safetensors cannot hold.
func TestStackedExpertsPacked(t *testing.T) {
	m := models.Of(t, models.Variant(t, "granitemoe", map[string]any{"intermediate_size": 32, "hidden_size": 64}), 1)
	c, err := codec.Lookup("int4g32")
	if err != nil {
		t.Fatal(err)
	}
	w := m.Graph.Weight("layers.0.mlp.experts.down")
	small, err := tensor.Convert(m.Tensor(w), c)
	if err != nil {
		t.Fatal(err)
	}
	err = m.With(map[*model.Weight]*tensor.Tensor{w: small}).SaveHF(context.Background(), dir(t.TempDir()))
	if !errors.Is(err, model.ErrUnsupported) || !strings.Contains(err.Error(), "all experts") {
		t.Error(err)
	}
}
