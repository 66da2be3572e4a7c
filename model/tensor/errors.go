package tensor

import (
	"errors"
	"fmt"
)

// The classes of errors that foreign files cause. Test with errors.Is.
var (
	ErrCorrupt     = errors.New("corrupt")     // the file breaks its own format
	ErrUnsupported = errors.New("unsupported") // well formed, but nothing pare can read or do
	ErrTooLarge    = errors.New("too large")   // over one of the limits of internal/limits
	ErrInvalid     = errors.New("invalid")     // a value that contradicts the rest (wrong shape, unknown name)
)

// FileError says where in a file something is wrong, what was found and what would have been right.
//
//	model.safetensors: tensor "layers.0.attn.q": needs 4194304 bytes at 128, file has 65536
type FileError struct {
	File  string // the file's name as the user knows it
	Field string // what in the file: `tensor "x"`, `key "y"`, "header"; may be empty
	Class error  // one of the Err values above
	Msg   string // what was found, and the limit
}

// Error formats the place, then the message.
func (e *FileError) Error() string {
	s := e.File
	if e.Field != "" {
		if s != "" {
			s += ": "
		}
		s += e.Field
	}
	if s == "" {
		return e.Msg
	}
	return s + ": " + e.Msg
}

// Unwrap returns the class, so that errors.Is(err, ErrCorrupt) works.
func (e *FileError) Unwrap() error { return e.Class }

// Errorf returns a FileError of the given class.
func Errorf(class error, file, field, format string, args ...any) error {
	return &FileError{File: file, Field: field, Class: class, Msg: fmt.Sprintf(format, args...)}
}
