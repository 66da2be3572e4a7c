package train

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/gomlx/compute"
)

// openBackend returns the backend that a configuration names: "pare", or one that was linked in ("xla:cuda", "go"), with
// options after a colon as that backend reads them. "" is $GOMLX_BACKEND, and where that is empty too pare's own: never
// what happens to be linked, so that the same binary trains the same way everywhere.
func openBackend(config string) (compute.Backend, error) {
	if config == "" {
		config = os.Getenv(compute.ConfigEnvVar)
	}
	name, _, _ := strings.Cut(config, ":")
	switch {
	case name == "" || name == backendName:
		return newBackend(), nil
	case slices.Contains(compute.List(), name):
		b, err := compute.NewWithConfig(config)
		if err != nil {
			return nil, fmt.Errorf("backend %q: %w", config, err)
		}
		return b, nil
	case name == "xla":
		return nil, fmt.Errorf("backend %q: this program was built without XLA; build it with cgo and -tags xla", config)
	}
	return nil, fmt.Errorf("backend %q: unknown, this program has %s", config, strings.Join(append(compute.List(), backendName), ", "))
}
