package tokenizer_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/parelm/pare/model/tokenizer"
)

func Example() {
	texts := slices.Values([]string{"the cat sat on the mat", "the dog sat on the log", "the end"})
	tk, err := tokenizer.Train(context.Background(), texts, tokenizer.TrainOptions{VocabSize: 270, BOS: "<s>", AddBOS: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	ids, err := tk.Encode("the cat", true)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, id := range ids {
		fmt.Println(id, tk.Piece(id))
	}
	fmt.Println(tk.Decode(ids, true))
	// Output:
	// 0 <s>
	// 258 the
	// 221 Ġ
	// 67 c
	// 259 at
	// the cat
}
