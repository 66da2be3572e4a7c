package distill

import (
	"fmt"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/tokenizer"
)

// Compatible returns an error unless teacher and student mean the same by every token id. Their tokenizers are compared by
// content, not by name: pieces, merges and the rules that cut text. Where the models carry none, or the student's is a
// copy, equal sizes of the vocabulary have to do.
func Compatible(teacher, student *model.Model) error {
	a, errA := teacher.Tokenizer()
	b, errB := student.Tokenizer()
	if errA == nil && errB == nil && a.Fingerprint() != b.Fingerprint() {
		return tensor.Errorf(tensor.ErrInvalid, student.Path, "tokenizer",
			"is not the teacher's (%s): %s; a student learns from a teacher with the same tokenizer only", teacher.Path, difference(a, b))
	}
	if t, s := teacher.Graph.Logits.Out.Size(), student.Graph.Logits.Out.Size(); t != s {
		return tensor.Errorf(tensor.ErrInvalid, student.Path, "vocabulary", "has %d rows, the teacher's %d (%s)", s, t, teacher.Path)
	}
	return nil
}

// difference tells the first thing in which two tokenizers differ.
func difference(a, b *tokenizer.Tokenizer) string {
	for id := range min(a.VocabSize(), b.VocabSize()) {
		if x, y := a.Piece(int32(id)), b.Piece(int32(id)); x != y {
			return fmt.Sprintf("token %d is %q there and %q here", id, x, y)
		}
	}
	if x, y := a.VocabSize(), b.VocabSize(); x != y {
		return fmt.Sprintf("it has %d tokens there and %d here", x, y)
	}
	return "merges or the rules that cut text differ"
}
