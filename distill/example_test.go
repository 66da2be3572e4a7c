package distill_test

import (
	"context"
	"fmt"
	"log"

	"github.com/parelm/pare/distill"
	"github.com/parelm/pare/model"
)

// A student with half of the teacher's neurons follows it on a text of token ids.
func Example() {
	sizes := func(ffn int) map[string]any {
		return map[string]any{"hidden_size": 32, "intermediate_size": ffn, "num_hidden_layers": 2, "num_attention_heads": 4,
			"num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}
	}
	ctx := context.Background()
	big, err := model.NewConfig("llama", sizes(96))
	if err != nil {
		log.Fatal(err)
	}
	small, err := model.NewConfig("llama", sizes(48))
	if err != nil {
		log.Fatal(err)
	}
	teacher, err := distill.Live(ctx, model.Random(big, 1))
	if err != nil {
		log.Fatal(err)
	}
	text := distill.Text{BOS: -1}
	for i := range 4000 {
		text.IDs = append(text.IDs, int32(i*i%61))
	}
	s := distill.Default()
	s.Steps, s.BatchSize, s.MaxSeqLength, s.LearningRate = 40, 4, 32, 3e-3
	kl, err := distill.NewLoss("kl")
	if err != nil {
		log.Fatal(err)
	}
	s.Losses = distill.Losses{"kl": kl}

	_, report, err := distill.Run(ctx, model.Random(small, 2), teacher, text, s, distill.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Steps, "steps, closer to the teacher:", report.Points[39].Loss < report.Points[0].Loss/2)
	// Output: 40 steps, closer to the teacher: true
}
