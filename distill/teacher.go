package distill

import (
	"context"

	"github.com/parelm/pare/internal/train"
)

// Teacher says how probable it finds what may follow each token.
type Teacher interface {
	// vocab returns the number of tokens it knows.
	vocab() int
	// answer adds what is wanted to a batch, as inputs of the losses.
	answer(ctx context.Context, b *train.Batch, w *want) error
}

// want is what the losses of a training run ask of the teacher.
type want struct {
	needs need
}
