package recipes

import "embed"

// source is this package's source, from which help takes the meaning of every setting.
//
//go:embed *.go
var source embed.FS
