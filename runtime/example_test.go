package runtime_test

import (
	"context"
	"fmt"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

func Example() {
	c, err := model.ParseConfig("config.json", []byte(`{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4,
		"num_hidden_layers": 2, "vocab_size": 50, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	e, err := runtime.Load(ctx, model.Random(c, 1), runtime.Options{}) // model.Open opens a checkpoint
	if err != nil {
		fmt.Println(err)
		return
	}
	generate := func(prompt ...int32) (ids []int32) {
		stop, err := e.NewSession().Generate(ctx, prompt, 8, runtime.Sampling{Temperature: 0.8, TopK: 10, Seed: 7}, nil, func(id int32) error {
			ids = append(ids, id)
			return nil
		})
		if err != nil || stop != runtime.StopLength {
			fmt.Println(stop, err)
		}
		return ids
	}
	a, b := generate(1, 2, 3), generate(1, 2, 3)
	fmt.Println(len(a), fmt.Sprint(a) == fmt.Sprint(b))
	// Output: 8 true
}
