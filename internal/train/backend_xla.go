//go:build xla

package train

// XLA runs the same graphs on GPUs and TPUs. It needs cgo and a PJRT plugin on the machine; see docs/training.md.
import _ "github.com/gomlx/go-xla/compute/xla"
