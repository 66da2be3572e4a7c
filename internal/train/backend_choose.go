package train

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/gomlx/compute"
)

// openBackend returns the backend that a configuration names: "pare", or one that was linked in ("xla:cuda", "go"), with
// options after a colon as that backend reads them. "" is $GOMLX_BACKEND, and where that is empty too pare's own: never
// what happens to be linked, so that the same binary trains the same way everywhere. It has at least so many devices: pare's own exactly
// as many, of others those that are there, and too few are an error.
func openBackend(config string, devices int) (compute.Backend, error) {
	config = cmp.Or(config, os.Getenv(compute.ConfigEnvVar))
	if err := CheckBackend(config); err != nil {
		return nil, err
	}
	if name, _, _ := strings.Cut(config, ":"); name == "" || name == backendName {
		return newBackend(devices), nil
	}
	b, err := compute.NewWithConfig(config)
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", config, err)
	}
	if n := b.NumDevices(); n < devices {
		b.Finalize()
		return nil, fmt.Errorf("backend %q has %d devices here, %d are asked for", config, n, devices)
	}
	return b, nil
}

// OnHost reports whether the devices of a backend are the memory of this process.
func OnHost(config string) bool {
	name, rest, _ := strings.Cut(cmp.Or(config, os.Getenv(compute.ConfigEnvVar)), ":")
	plugin, _, _ := strings.Cut(rest, ",")
	return name != "xla" || plugin == "cpu"
}

// CheckBackend returns an error where a configuration, or $GOMLX_BACKEND where it is empty, names a backend that this program lacks. Whether the machine has
// what the backend needs shows when it is opened.
func CheckBackend(config string) error {
	config = cmp.Or(config, os.Getenv(compute.ConfigEnvVar))
	name, _, _ := strings.Cut(config, ":")
	switch {
	case name == "" || name == backendName || slices.Contains(compute.List(), name):
		return nil
	case name == "xla":
		return fmt.Errorf("backend %q: this program was built without XLA; build it with cgo and -tags xla", config)
	}
	return fmt.Errorf("backend %q: unknown, this program has %s", config, strings.Join(append(compute.List(), backendName), ", "))
}
