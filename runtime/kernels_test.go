package runtime

import (
	"context"
	"testing"
)

// What is read for the ceiling is what a token reads, in every way to keep weights.
func TestReadWeights(t *testing.T) {
	for _, format := range []string{"f32", "bf16", "q4_0", "q8_0"} {
		m := encoded(t, headsOf32(t, `"model_type":"llama"`), format)
		e, err := Load(context.Background(), m, Options{})
		if err != nil {
			t.Fatal(err)
		}
		uses, token := e.Kernels()
		if got := e.ReadWeights(); got != token || token == 0 {
			t.Errorf("%s: %d bytes read, a token reads %d of %+v", format, got, token, uses)
		}
	}
}
