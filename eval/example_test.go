package eval_test

import (
	"context"
	"fmt"

	"github.com/parelm/pare/eval"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

// A model that knows nothing gives every one of its 64 tokens about the same chance, and it agrees with itself.
func Example() {
	c, err := model.NewConfig("llama", map[string]any{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
		"num_attention_heads": 4, "vocab_size": 64, "max_position_embeddings": 32, "rms_norm_eps": 1e-5})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	e, err := runtime.Load(ctx, model.Random(c, 1), runtime.Options{})
	if err != nil {
		panic(err)
	}
	ids := make([]int32, 100)
	for i := range ids {
		ids[i] = int32(i * 37 % 64)
	}
	cmp, err := eval.Compare(ctx, e, e, ids, eval.Protocol{Window: 20, Stride: 20, BOS: -1})
	if err != nil {
		panic(err)
	}
	fmt.Printf("perplexity %.0f over %d tokens\n", cmp.Perplexity.Value, cmp.Perplexity.Tokens)
	fmt.Printf("divergence %.1f, agreement %.0f %%\n", cmp.KLD.Mean, 100*cmp.Top1.Value)
	// Output:
	// perplexity 67 over 95 tokens
	// divergence 0.0, agreement 100 %
}
