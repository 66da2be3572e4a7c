package prune_test

import (
	"context"
	"fmt"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/prune"
)

// Half of the layers and three quarters of the feed-forward neurons stay; which ones is decided on the samples.
func Example() {
	c, err := model.NewConfig("llama", map[string]any{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
		"num_attention_heads": 4, "vocab_size": 64, "max_position_embeddings": 32, "rms_norm_eps": 1e-5})
	if err != nil {
		panic(err)
	}
	m := model.Random(c, 1)
	samples := [][]int32{{3, 14, 15, 9, 26, 5, 35}, {8, 9, 7, 9, 32, 38, 46}}
	small, r, err := prune.Run(context.Background(), m, samples, prune.Settings{Depth: 0.5, FFN: 0.75})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d layers of %d, %d neurons of %d\n", len(small.Config.Layers), len(m.Config.Layers), r.Widths["ffn"][1], r.Widths["ffn"][0])
	fmt.Printf("%d parameters of %d\n", r.Parameters, r.Before)
	// Output:
	// 2 layers of 4, 48 neurons of 64
	// 21664 parameters of 45344
}
