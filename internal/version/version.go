// Package version says which pare this is. Release builds stamp the version with
// -ldflags "-X github.com/parelm/pare/internal/version.stamp=v1.2.3".
package version

import "runtime/debug"

// stamp is set by the linker.
var stamp = ""

// base is the version under development; it keys cached artifacts of unstamped builds.
const base = "0.1.0-dev"

// String returns the stamped version, the module version a `go install` build carries, or the version under development.
func String() string {
	if stamp != "" {
		return stamp
	}
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" && bi.Main.Version != "(devel)" {
		return bi.Main.Version
	}
	return base
}
