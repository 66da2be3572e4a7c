package eval

import "embed"

// GoSource is this package's source, from which the help takes the meaning of every key of a task file.
//
//go:embed *.go
var GoSource embed.FS
