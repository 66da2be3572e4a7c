//go:build unix

package safetensors

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/parelm/pare/model/internal/malformed"
)

// TestSpecialFiles puts things that are no regular files where the weights should be.
func TestSpecialFiles(t *testing.T) {
	valid := one("U8", "[2]", "[0,2]", 2)
	for _, c := range []struct {
		id, says string
		make     func(path, outside string) error
	}{
		{"S43 link out of the directory", "leads out", func(path, outside string) error { return os.Symlink(outside, path) }},
		{"S44 directory", "directory", func(path, _ string) error { return os.Mkdir(path, 0o755) }},
		{"S44 pipe", "pipe", func(path, _ string) error { return syscall.Mkfifo(path, 0o644) }},
	} {
		t.Run(c.id, func(t *testing.T) {
			dir := t.TempDir()
			outside := put(t, t.TempDir(), "outside.safetensors", valid)
			if err := c.make(filepath.Join(dir, singleName), outside); err != nil {
				t.Fatal(err)
			}
			malformed.Check(t, malformed.Want{Class: invalid, Texts: []string{singleName, c.says}}, func() (io.Closer, error) { return OpenDir(dir) })
			if c.says != "leads out" {
				malformed.Check(t, malformed.Want{Class: invalid, Texts: []string{singleName, c.says}},
					func() (io.Closer, error) { return Open(filepath.Join(dir, singleName)) })
			}
			// The same for a shard.
			d := shards()
			delete(d, "s2.safetensors")
			path, _ := d.write(t)
			if err := c.make(filepath.Join(path, "s2.safetensors"), outside); err != nil {
				t.Fatal(err)
			}
			malformed.Check(t, malformed.Want{Class: invalid, Texts: []string{"s2.safetensors", c.says}}, func() (io.Closer, error) { return OpenDir(path) })
		})
	}
	t.Run("link inside the directory", func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, "weights", valid)
		if err := os.Symlink("weights", filepath.Join(dir, singleName)); err != nil {
			t.Fatal(err)
		}
		f, err := OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	})
	t.Run("links of the Hugging Face cache", func(t *testing.T) {
		repo := filepath.Join(t.TempDir(), "models--org--name")
		for _, d := range []string{"blobs", "snapshots/0123abcd"} {
			if err := os.MkdirAll(filepath.Join(repo, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		put(t, repo, "blobs/ffff", valid)
		snapshot := filepath.Join(repo, "snapshots/0123abcd")
		link := filepath.Join(snapshot, singleName)
		if err := os.Symlink("../../blobs/ffff", link); err != nil {
			t.Fatal(err)
		}
		f, err := OpenDir(snapshot)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../../outside", link); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Dir(repo), "outside", valid)
		malformed.Check(t, malformed.Want{Class: invalid, Texts: []string{singleName, "leads out"}}, func() (io.Closer, error) { return OpenDir(snapshot) })
	})
}
