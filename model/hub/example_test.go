package hub_test

import (
	"context"
	"fmt"

	"github.com/parelm/pare/model/hub"
)

// A model comes from the hub into the cache that other programs use too; the second time nothing is fetched.
func Example() {
	path, err := hub.FromEnv().Fetch(context.Background(), "hf://TinyLlama/TinyLlama-1.1B-Chat-v1.0@main")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(path)
}
