package recipes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model/tensor"
)

// Load reads a recipe: a file, or the name of one that comes with pare. sets are `path=value` changes made before
// anything is checked: `seed=3`, `stages.q4.quantize.format=q8_0`, or shorter `q4.format=q8_0`.
//
// The error joins everything that is wrong with the recipe, a line each.
func Load(ref string, sets ...string) (*Recipe, error) {
	if !strings.ContainsAny(ref, `/\`) && filepath.Ext(ref) == "" {
		if _, err := os.Stat(ref); err != nil {
			return loadBuiltin(ref, sets)
		}
	}
	data, err := fsx.ReadLimited(ref, limits.Recipe)
	switch {
	case errors.Is(err, fsx.ErrTooLarge):
		return nil, strict.Errorf(tensor.ErrTooLarge, ref, "", "a recipe has at most %d bytes", limits.Recipe)
	case errors.Is(err, fsx.ErrNotRegular):
		return nil, strict.Errorf(tensor.ErrInvalid, ref, "", "is no recipe: %v", err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, strict.Errorf(tensor.ErrInvalid, ref, "", "there is no such recipe%s", strict.DidYouMean(ref, slices.Concat(nearby(ref), Builtin())))
	case err != nil:
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Dir(ref))
	if err != nil {
		return nil, err
	}
	return parse(ref, dir, data, sets)
}

// nearby lists the recipes beside a path that does not exist.
func nearby(ref string) []string {
	var names []string
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		found, _ := filepath.Glob(filepath.Join(filepath.Dir(ref), pattern)) // a bad pattern in the path finds nothing
		names = append(names, found...)
	}
	return names
}

// parse reads a recipe's text. dir is what its paths are relative to.
func parse(file, dir string, data []byte, sets []string) (*Recipe, error) {
	doc, err := strict.Parse(filepath.Base(file), data, limits.RecipeDepth)
	if err != nil {
		return nil, err
	}
	for _, set := range sets {
		path, value, ok := strings.Cut(set, "=")
		if !ok || path == "" {
			return nil, strict.Errorf(tensor.ErrInvalid, "--set "+set, "", "want key.path=value, such as --set seed=3")
		}
		if err := doc.Set(fullPath(doc, path), value, "--set "+set, limits.RecipeDepth); err != nil {
			return nil, err
		}
	}
	name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	return (&Recipe{name: name, dir: dir, root: doc.Root()}).fresh()
}

// fresh decodes the recipe's text again and checks its structure.
func (r *Recipe) fresh() (*Recipe, error) {
	r = &Recipe{name: r.name, dir: r.dir, trusted: r.trusted, root: r.root}
	if stages, ok := r.root.Get("stages"); ok && int64(len(stages.List())) > limits.RecipeStages {
		return nil, stages.Errorf(tensor.ErrTooLarge, "%d stages, at most %d are allowed", len(stages.List()), limits.RecipeStages)
	}
	if err := r.root.Decode(r); err != nil {
		return nil, err
	}
	if err := r.structure(); err != nil {
		return nil, err
	}
	return r, nil
}

// fullPath turns the short form of an override, which begins with a stage's name, into the path of the setting.
func fullPath(doc *strict.Doc, path string) string {
	first, rest, ok := strings.Cut(path, ".")
	for _, f := range strict.Fields(&Recipe{}) {
		if f.Key == first {
			return path
		}
	}
	stages, _ := doc.Root().Get("stages")
	if !ok || !stages.IsList() {
		return path
	}
	for i, s := range stages.List() {
		pairs, err := s.Pairs()
		if err != nil {
			continue
		}
		name, kind := "", ""
		for _, p := range pairs {
			switch {
			case p.Key == "name":
				name, _ = p.Value.Text()
			case !slices.Contains(stepKeys, p.Key):
				kind = p.Key
			}
		}
		if name == "" {
			name = kind
		}
		if name != first {
			continue
		}
		if slices.Contains(stepKeys, rest) || rest == kind || strings.HasPrefix(rest, kind+".") {
			return fmt.Sprintf("stages.%d.%s", i, rest)
		}
		return fmt.Sprintf("stages.%d.%s.%s", i, kind, rest)
	}
	return path
}
