package distill

import "embed"

// Source is this package's source, from which the help of recipes takes the meaning of every setting.
//
//go:embed *.go
var Source embed.FS
