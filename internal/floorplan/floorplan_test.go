// Package floorplan holds the house to its plan: imports only go down, and what may be done in one place alone is done
// nowhere else. See docs/architecture.md.
package floorplan

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/parelm/pare/"

// floors lists the packages of each floor, the lowest first. A package may import those of lower floors.
var floors = [][]string{
	{"internal/limits", "internal/par", "internal/simd", "internal/fsx", "internal/fsx/fsxtest", "internal/store", "internal/progress",
		"internal/version", "internal/ordered", "internal/rng", "internal/peak", "internal/tiny", "model/codec", "model/tensor"},
	{"internal/strict", "model/internal/container", "model/internal/malformed", "model/safetensors", "model/gguf", "model/torch", "model/tokenizer", "model/chat", "model/hub",
		"model", "internal/tiny/models"},
	{"internal/reference", "internal/corpus", "runtime/grammar", "runtime"},
	{"internal/calib", "internal/train/cpu", "internal/train"},
	{"quantize", "prune", "distill", "eval"},
	{"internal/report", "internal/measure", "recipes", "runtime/serve", "internal/cli"},
	{"cmd/pare"},
}

// doors are the imports within a floor: who may open which.
var doors = map[string][]string{
	"internal/store":       {"internal/fsx", "internal/version", "internal/progress"},
	"internal/fsx/fsxtest": {"internal/fsx"},
	"internal/fsx":         {"internal/limits"},
	"internal/simd":        {"internal/par"},
	"model/tensor":         {"model/codec", "internal/limits", "internal/par"},
	"model/codec":          {"internal/simd", "internal/par"},
	"model/safetensors":    {"model/internal/container"},
	"model/gguf":           {"model/internal/container"},
	"model/torch":          {"model/internal/container"},
	"model":                {"model/safetensors", "model/gguf", "model/torch", "model/tokenizer", "model/chat", "model/internal/container"},
	"internal/tiny/models": {"model", "model/tokenizer"},
	"model/chat":           {"model/tokenizer"},
	"internal/train":       {"internal/train/cpu"},
	"internal/measure":     {"internal/report"},
	"recipes":              {"internal/report", "internal/measure"},
	"internal/cli":         {"recipes", "runtime/serve", "internal/report", "internal/measure"},
}

type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string
	GoFiles    []string
	CgoFiles   []string
	Standard   bool
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Imports,Deps,GoFiles,CgoFiles,Standard", "./...")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func floorOf(name string) int {
	for f, names := range floors {
		if slices.Contains(names, name) {
			return f
		}
	}
	return -1
}

func TestFloorPlan(t *testing.T) {
	for _, p := range list(t) {
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			if len(p.CgoFiles) > 0 && !p.Standard {
				t.Errorf("%s needs cgo", p.ImportPath)
			}
			continue
		}
		if strings.HasPrefix(name, "internal/simd/gen") || name == "internal/floorplan" {
			continue
		}
		floor := floorOf(name)
		if floor < 0 {
			t.Errorf("%s is on no floor: give it one in this test and in docs/architecture.md", name)
			continue
		}
		for _, i := range p.Imports {
			target, ours := strings.CutPrefix(i, module)
			switch {
			case ours && floorOf(target) > floor:
				t.Errorf("%s imports %s, which is above it", name, target)
			case ours && floorOf(target) == floor && !slices.Contains(doors[name], target):
				t.Errorf("%s imports %s of its own floor, and there is no door between them", name, target)
			case strings.HasPrefix(i, "github.com/gomlx/") && name != "internal/train":
				t.Errorf("%s imports %s: GoMLX belongs in internal/train alone", name, i)
			case i == "unsafe" && name != "internal/simd":
				t.Errorf("%s imports unsafe: that belongs in internal/simd alone", name)
			}
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s has cgo files %v", name, p.CgoFiles)
		}
		if name == "runtime/serve" {
			for _, d := range p.Deps {
				if strings.HasPrefix(d, "github.com/gomlx/") {
					t.Errorf("the server depends on %s: a panic in its goroutines would end it", d)
				}
			}
		}
		checkFiles(t, name, p)
	}
}

// writers are what changes the disk; only internal/store (through internal/fsx) may call them.
var writers = []string{"Create", "O_CREATE", "WriteFile", "Mkdir", "MkdirAll", "MkdirTemp", "CreateTemp", "Rename", "Remove", "RemoveAll",
	"Link", "Symlink", "Truncate", "Chmod"}

// allowed are the packages that may: the door itself and what it stands on.
var allowed = []string{"internal/store", "internal/fsx", "internal/fsx/fsxtest"}

func checkFiles(t *testing.T, name string, p pkg) {
	t.Helper()
	if slices.Contains(allowed, name) {
		return
	}
	for _, file := range p.GoFiles {
		path := filepath.Join(p.Dir, file)
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "os" && slices.Contains(writers, s.Sel.Name) {
					t.Errorf("%s/%s uses os.%s: files are made by internal/store alone", name, file, s.Sel.Name)
				}
			}
			return true
		})
	}
}
