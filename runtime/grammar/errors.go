package grammar

import (
	"errors"
	"fmt"
)

// ErrAmbiguous is the error of a grammar in which too many ways lead to one text.
var ErrAmbiguous = errors.New("the grammar is too ambiguous to follow in reasonable time")

// Refused is the error of a token that the grammar does not allow.
type Refused struct {
	ID    int32
	After string // the end of the text before it
}

func (e *Refused) Error() string {
	return fmt.Sprintf("the grammar does not allow token %d after %q", e.ID, e.After)
}
