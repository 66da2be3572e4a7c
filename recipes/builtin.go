package recipes

import (
	"embed"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/internal/version"
	"github.com/parelm/pare/model/tensor"
)

// builtin holds the recipes that come with pare: NAME.yaml, and in the directory NAME the files it uses.
//
//go:embed builtin
var builtinFS embed.FS

// builtins is what Load looks in; tests put their own there.
var builtins = func() fs.FS {
	sub, err := fs.Sub(builtinFS, "builtin")
	if err != nil {
		panic(err)
	}
	return sub
}()

// Builtin returns the names of the recipes that come with pare, sorted.
func Builtin() []string {
	var names []string
	found, _ := fs.Glob(builtins, "*.yaml") // the pattern is good
	for _, f := range found {
		names = append(names, strings.TrimSuffix(f, ".yaml"))
	}
	slices.Sort(names)
	return names
}

// Text returns the text of a built-in recipe.
func Text(name string) ([]byte, error) {
	if !slices.Contains(Builtin(), name) {
		return nil, strict.Errorf(tensor.ErrInvalid, name, "", "there is no recipe of that name%s", strict.DidYouMean(name, Builtin()))
	}
	return fs.ReadFile(builtins, name+".yaml")
}

func loadBuiltin(name string, sets []string) (*Recipe, error) {
	data, err := Text(name)
	if err != nil {
		return nil, err
	}
	r, err := parse(name+".yaml", "", data, sets)
	if r != nil {
		r.trusted = true
	}
	return r, err
}

// assetsLabel names the artifact that holds the files of a built-in recipe, unpacked.
const assetsLabel = "assets"

// assetsKey returns the key of that artifact; "" for a recipe that brings no files.
func (r *Recipe) assetsKey() (string, error) {
	var entries []store.FileEntry
	err := r.eachAsset(func(name string, f fs.File) error {
		sum, size, err := fsx.Sum(f, nil)
		entries = append(entries, store.FileEntry{Name: name, Bytes: size, SHA256: sum})
		return err
	})
	if err != nil || len(entries) == 0 {
		return "", err
	}
	return store.Digest(entries), nil
}

// eachAsset visits the files of a built-in recipe by their path beside it.
func (r *Recipe) eachAsset(visit func(name string, f fs.File) error) error {
	if _, err := fs.Stat(builtins, r.name); !r.trusted || err != nil {
		return nil // a recipe without files
	}
	return fs.WalkDir(builtins, r.name, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := builtins.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(visit(name, f), f.Close())
	})
}

// unpack writes the files of a built-in recipe into an artifact and returns it.
func (r *Recipe) unpack(d *store.Dir, key string) (*store.Artifact, error) {
	defer d.Abort()
	err := r.eachAsset(func(name string, f fs.File) error {
		w, err := d.Create(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, f)
		return errors.Join(err, w.Close())
	})
	if err != nil {
		return nil, err
	}
	return d.Commit(store.Manifest{Pare: version.String(), Name: assetsLabel, Key: key, Stage: assetsLabel, Started: time.Now()})
}
