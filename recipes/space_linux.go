package recipes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// availableMemory returns the bytes that this process may still take without swapping, as the kernel estimates them and
// as far as its control group allows; 0 where that cannot be told.
func availableMemory() int64 {
	free := statLine("/proc/meminfo", "MemAvailable:") << 10
	if left := cgroupLeft(); left > 0 && (free == 0 || left < free) {
		free = left
	}
	return free
}

// statLine returns the number behind a key in a file of lines such as "VmHWM:  1234 kB"; 0 where there is none.
func statLine(path, key string) int64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte(key)); ok {
			var n int64
			if _, err := fmt.Sscan(string(rest), &n); err == nil {
				return n
			}
		}
	}
	return 0
}

// cgroupLeft returns what the memory limits (version 2) of this process's control group and of those above it leave; 0
// without a limit. Cached files do not count as used.
func cgroupLeft() int64 {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	left := int64(0)
	for line := range strings.Lines(string(data)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for ok {
			dir := filepath.Join("/sys/fs/cgroup", path)
			if limit := number(filepath.Join(dir, "memory.max")); limit > 0 {
				used := number(filepath.Join(dir, "memory.current")) - statLine(filepath.Join(dir, "memory.stat"), "inactive_file ")
				if l := max(limit-used, 1); left == 0 || l < left {
					left = l
				}
			}
			ok = path != "/" && path != "."
			path = filepath.Dir(path)
		}
	}
	return left
}

// number reads a file that holds one number; 0 for "max" and for no file.
func number(path string) int64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
