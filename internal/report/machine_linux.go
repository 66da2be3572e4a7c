package report

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// hardware returns the processor's name and the bytes of memory.
func hardware() (cpu string, memory int64) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		memory = int64(uint64(info.Totalram) * uint64(info.Unit))
	}
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", memory
	}
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(line, ":")
		switch key = strings.TrimSpace(key); {
		case ok && (key == "model name" || key == "Model" || key == "Hardware"):
			return strings.TrimSpace(value), memory
		}
	}
	return "", memory
}
