package recipes_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/recipes"
)

// A recipe is planned, run, and run again, which does nothing.
func Example() {
	dir, err := os.MkdirTemp("", "pare")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	files, err := models.Files("llama", 1, nil) // a checkpoint of random weights
	if err != nil {
		panic(err)
	}
	files["recipe.yaml"] = []byte(`
model: .
stages:
  - name: half
    convert: {type: bf16}
  - name: w8
    quantize: {format: W8A16}
gate: {model: w8, max_size: 400KB}
`)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			panic(err)
		}
	}
	r, err := recipes.Load(filepath.Join(dir, "recipe.yaml"))
	if err != nil {
		panic(err)
	}
	ctx, o := context.Background(), recipes.Options{Out: filepath.Join(dir, "..", filepath.Base(dir)+"-out")}
	defer os.RemoveAll(o.Out)
	for range 2 {
		res, err := recipes.Run(ctx, r, o)
		if err != nil {
			panic(err)
		}
		for _, a := range res.Artifacts {
			fmt.Println(a.Name, a.Stage, "reused:", a.Reused)
		}
		fmt.Println("gate met:", res.Gate.OK)
	}
	// Output:
	// half convert reused: false
	// w8 quantize reused: false
	// gate met: true
	// half convert reused: true
	// w8 quantize reused: true
	// gate met: true
}
