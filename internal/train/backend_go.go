package train

// GoMLX's own backend in Go, under the name "go": slow, and an independent check of what pare's computes.
import _ "github.com/gomlx/compute/gobackend"
