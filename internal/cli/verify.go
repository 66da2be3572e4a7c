package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/store"
)

func init() {
	register(&cli.Command{
		Name: "verify", Usage: "hash the files of an artifact again and compare them with its manifest",
		ArgsUsage: "DIR",
		Description: `DIR is an artifact of a run, a directory that another verb wrote with -o, or the output directory of a
run, all of whose artifacts are checked then. Exit code 1 says that something is missing, changed or too much.

examples
  pare verify pare-out/quickstart
  pare verify pare-out/quickstart/q4-0f3a6c1d2e4b5a69 --json`,
		Action: action(verify),
	})
}

// verified is one artifact as verify found it.
type verified struct {
	OK     bool              `json:"ok"`
	Path   string            `json:"path"`
	Digest string            `json:"digest,omitempty"`
	Files  []store.FileCheck `json:"files"`
	err    error
}

func verify(ctx context.Context, e *env, c *cli.Context) error {
	dir, err := one(c, "one DIR")
	if err != nil {
		return err
	}
	one := verifyOne(ctx, dir)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(one.err, store.ErrNoArtifact) {
		dirs, err := store.List(fsx.OS, dir)
		if err != nil {
			return err
		}
		if len(dirs) == 0 {
			return one.err
		}
		return verifyAll(ctx, e, dir, dirs)
	}
	if one.err != nil && len(one.Files) == 0 {
		return one.err // no manifest to hold the files to
	}
	if err := e.print(one, func(w io.Writer) { printVerified(w, one) }); err != nil {
		return err
	}
	return reported(one.err)
}

func verifyOne(ctx context.Context, dir string) verified {
	a, files, err := store.Verify(ctx, fsx.OS, dir)
	v := verified{OK: err == nil, Path: dir, Files: files, err: err}
	if v.Files == nil {
		v.Files = []store.FileCheck{}
	}
	if a != nil {
		v.Digest = a.Digest()
	}
	return v
}

// verifyAll checks every artifact of an output directory.
func verifyAll(ctx context.Context, e *env, out string, dirs []string) error {
	all := struct {
		OK        bool              `json:"ok"`
		Path      string            `json:"path"`
		Files     []store.FileCheck `json:"files"`
		Artifacts []verified        `json:"artifacts"`
	}{OK: true, Path: out, Files: []store.FileCheck{}}
	var failed error
	for _, name := range dirs {
		v := verifyOne(ctx, filepath.Join(out, name))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		all.OK = all.OK && v.OK
		for _, f := range v.Files {
			f.Name = name + "/" + f.Name
			all.Files = append(all.Files, f)
		}
		all.Artifacts = append(all.Artifacts, v)
		failed = errors.Join(failed, v.err)
	}
	err := e.print(all, func(w io.Writer) {
		for _, v := range all.Artifacts {
			printVerified(w, v)
		}
	})
	if err != nil {
		return err
	}
	return reported(failed)
}

func printVerified(w io.Writer, v verified) {
	if v.OK {
		bytes := int64(0)
		for _, f := range v.Files {
			bytes += f.Bytes
		}
		fmt.Fprintf(w, "ok       %s: %d files, %s, digest %.16s\n", v.Path, len(v.Files), report.Bytes(bytes), v.Digest)
		return
	}
	if len(v.Files) == 0 {
		fmt.Fprintf(w, "DAMAGED  %v\n", v.err)
	}
	for _, f := range v.Files {
		if !f.OK {
			fmt.Fprintf(w, "DAMAGED  %s: %s: %s\n", v.Path, f.Name, f.Problem)
		}
	}
}
