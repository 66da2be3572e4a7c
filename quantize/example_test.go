package quantize_test

import (
	"context"
	"fmt"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/quantize"
)

// A small model goes to four bits with error feedback; the calibration text is given as token ids.
func Example() {
	config := `{"model_type":"llama","vocab_size":64,"hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,
		"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":64}`
	c, err := model.ParseConfig("config.json", []byte(config))
	if err != nil {
		fmt.Println(err)
		return
	}
	m := model.Random(c, 1)
	gptq, err := quantize.New("gptq")
	if err != nil {
		fmt.Println(err)
		return
	}
	text := [][]int32{{1, 2, 3, 5, 8, 13, 21, 34}, {1, 4, 9, 16, 25, 36, 49, 63}}
	small, report, err := quantize.Run(context.Background(), m, quantize.Settings{Format: "Q4_0"}, gptq, quantize.Options{Samples: text})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d matrices, %d bytes instead of %d\n", len(report.Tensors), small.Bytes(), m.Bytes())
	// Output: 16 matrices, 49408 bytes instead of 328960
}
