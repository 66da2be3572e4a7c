package strict

import (
	"errors"
	"fmt"

	"github.com/parelm/pare/model/tensor"
)

// docError is a FileError about the document itself, as against files that it names.
type docError struct{ *tensor.FileError }

func (e docError) Unwrap() error { return e.FileError }

// Errorf returns an error of one of tensor's classes about a document. It is a tensor.FileError for errors.As.
func Errorf(class error, file, field, format string, args ...any) error {
	return docError{&tensor.FileError{File: file, Field: field, Class: class, Msg: fmt.Sprintf(format, args...)}}
}

// IsDocument reports an error that the author of a document has to mend in it.
func IsDocument(err error) bool {
	var d docError
	return errors.As(err, &d)
}
