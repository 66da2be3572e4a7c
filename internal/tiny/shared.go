// Package tiny finds the reference data that tests share. Package models, beside it, makes tiny seeded checkpoints of every
// family for tests that must run where there is none.
package tiny

import (
	"os"
	"path/filepath"
	"testing"
)

// Shared returns the path of name inside the directory `shared` that lies beside the repository, where reference
// data too bulky for the repository is kept. It skips the test when there is none: a user's clone has no such directory.
func Shared(t testing.TB, name ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("not inside the repository: no shared reference data")
		}
		dir = up
	}
	path := filepath.Join(append([]string{filepath.Dir(dir), "shared"}, name...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no shared reference data at ../shared/%s: skipped", filepath.Join(name...))
	}
	return path
}
