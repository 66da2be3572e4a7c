package fsx

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadLimited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("0123456789"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int64{10, 11, 1 << 40} {
		if data, err := ReadLimited(path, limit); err != nil || string(data) != "0123456789" {
			t.Errorf("limit %d: %q %v", limit, data, err)
		}
	}
	for _, limit := range []int64{0, 9} {
		data, err := ReadLimited(path, limit)
		if !errors.Is(err, ErrTooLarge) || data != nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), fmt.Sprint(limit)) {
			t.Errorf("limit %d: %q %v", limit, data, err)
		}
		if _, err := ReadFile(OS, path, limit); !errors.Is(err, ErrTooLarge) {
			t.Errorf("ReadFile, limit %d: %v", limit, err)
		}
	}
	if _, err := ReadLimited(path+"x", 1); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := ReadLimited(t.TempDir(), 1); !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), "a directory") {
		t.Error(err)
	}
}

// A file that is larger than it says, as in /proc, is still held to the limit.
func TestReadLimitedTrustsNoSize(t *testing.T) {
	if _, err := readLimited(strings.NewReader("12345"), "x", 4); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func TestSum(t *testing.T) {
	data := bytes.Repeat([]byte("pare"), 1<<19)
	told := int64(0)
	sum, size, err := Sum(bytes.NewReader(data), func(n int64) { told += n })
	if err != nil || size != int64(len(data)) || told != size {
		t.Error(size, told, err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(data)); sum != want {
		t.Error(sum, want)
	}
	// The digest of "abc", FIPS 180-2 appendix B.1.
	if sum, _, _ := Sum(strings.NewReader("abc"), nil); sum != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Error(sum)
	}
	broken := errors.New("broken")
	if _, _, err := Sum(failing{broken}, nil); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestMkdirAllRemoveAll(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "b", "c")
	if err := MkdirAll(OS, deep); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(OS, deep); err != nil {
		t.Error(err)
	}
	outside := filepath.Join(root, "outside")
	if err := os.WriteFile(outside, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(OS, filepath.Join(outside, "x")); err == nil {
		t.Error("made a directory inside a file")
	}
	if err := os.Symlink(root, filepath.Join(deep, "loop")); err != nil {
		t.Skip(err)
	}
	if err := RemoveAll(OS, filepath.Join(root, "a")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error("followed a link out of the tree:", err)
	}
	if err := RemoveAll(OS, filepath.Join(root, "a")); err != nil {
		t.Error("removing nothing:", err)
	}
}

func TestFreeBytes(t *testing.T) {
	n, err := FreeBytes(t.TempDir())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil || n <= 0 {
		t.Error(n, err)
	}
}
