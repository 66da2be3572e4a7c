package model_test

import (
	"errors"
	"flag"
	"math"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/gguf"
)

var full = flag.Bool("full", false, "every hostile value of every key of every family")

// readKeys are keys that families read where a file has them.
var readKeys = strings.Fields("rope.freq_base rope.freq_base_swa rope.dimension_count rope.scaling.type rope.scaling.factor rope.scaling.original_context_length " +
	"rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow rope.scaling.attn_factor rope.scaling.yarn_attn_factor logit_scale embedding_scale residual_scale " +
	"attention.scale attention.sliding_window attention.sliding_window_pattern attention.clamp_kqv attention.max_alibi_bias attention.key_length " +
	"attn_logit_softcapping final_logit_softcapping expert_count expert_used_count expert_feed_forward_length expert_shared_feed_forward_length " +
	"use_parallel_residual ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank")

// TestHostileGGUF puts numbers that mean harm into the metadata of a file of every family: it opens, or the error is a FileError.
func TestHostileGGUF(t *testing.T) {
	values := []any{float32(math.NaN()), float32(math.Inf(1)), math.Inf(-1), float32(-1), float32(0), float32(1e38), int32(-1), uint32(0), uint32(1<<32 - 1),
		uint64(1 << 63), "yarn", "none", true, []uint32{0, 0}, []uint32{1, 1 << 31}, []float32{float32(math.NaN())}, []bool{true}, uint32(1), uint32(3)}
	for i, name := range models.Names() {
		path, back := saveGGUF(t, models.Model(t, name, 1))
		back.Close()
		f, err := gguf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		arch, err := f.Metadata().String("general.architecture")
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for k := range f.Metadata().All() {
			if strings.HasPrefix(k, arch+".") {
				keys = append(keys, k)
			}
		}
		f.Close()
		for _, k := range readKeys {
			if k = arch + "." + k; !strings.Contains(" "+strings.Join(keys, " ")+" ", " "+k+" ") {
				keys = append(keys, k)
			}
		}
		for j, key := range keys {
			for v, value := range values {
				if !*full && (i+5*j+v)%(3*len(values)) != 0 { // one of 57, another for each family
					continue
				}
				bad := stripGGUF(t, path, func(meta *gguf.Metadata) { meta.Set(key, value) })
				x, err := model.Open(bad)
				if err == nil {
					x.Close()
					continue
				}
				var fe *model.FileError
				if !errors.As(err, &fe) {
					t.Errorf("%s, %s = %v: not a FileError: %v", name, key, value, err)
				}
			}
		}
	}
}
