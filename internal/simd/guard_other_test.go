//go:build !linux

package simd

import "testing"

// guarded returns plain memory: the pages that fault on other systems are not made here.
func guarded(_ testing.TB, pages int) []byte { return make([]byte, pages*4096) }
