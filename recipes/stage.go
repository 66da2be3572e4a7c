package recipes

import (
	"context"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/parelm/pare/internal/strict"
)

// Kind is a kind of stage: what stands under a stage's name in a recipe. Register makes it known.
type Kind struct {
	// Name is the key: "quantize".
	Name string
	// New returns settings that hold their defaults. See Stage.
	New func() Stage
	// Sources is the Go source of the packages that declare the settings; help and schema take the comments of the types
	// and fields from it. Embed it with //go:embed *.go.
	Sources []fs.FS
	// Starts: the stage makes a model from nothing. Other stages have one to start from.
	Starts bool
	// Measures: the stage makes no model but measures those it names.
	Measures bool
	// Aside: the stage makes something else than a model. Later stages do not start from it, but settings with the tag
	// ref:"any" can name it.
	Aside bool
}

// Stage is the settings of one stage: a pointer to a struct whose fields are the keys, as package strict reads them. These
// tags say what the engine has to know:
//
//	ref:"model"    a string or list of strings: models by the name of an earlier stage, base, or a path
//	ref:"any"      the same, and what stages make that is no model
//	ref:"all"      the same as model; when nothing is given, all models before the stage
//	data:"calib"   a list of strings: text files; when nothing is given, those of the recipe's data.calib
//	path:"file"    a string, or a map or list of strings: files that the stage reads
//
// Paths are made absolute before Plan and Run, and checked to be files inside the workspace; files and models take part
// in the stage's key by their content. A Stage may also implement strict.Extender (more keys, once some are known),
// Variants, Seeded and Reader.
type Stage interface {
	// Plan checks the settings against the models they meet, and foretells what Run costs. It may open models and read
	// their headers, but does no work that takes over a second. An error made with strict.Bad points at the key's line.
	Plan(ctx context.Context, p *Planning) (Estimate, error)
	// Run does the work and writes the artifact's files through the job. It returns soon after ctx is done.
	Run(ctx context.Context, j *Job) error
}

// Seeded is a stage that knows whether it uses the seed. One that does not implement it uses none.
type Seeded interface{ UsesSeed() bool }

// Reader is a stage whose files name further files. Reads returns those, once the paths in the settings are absolute; they
// are held to the workspace and take part in the key like the others.
type Reader interface{ Reads() ([]string, error) }

// Variants is a stage whose keys depend on the value of one: the algorithm's own settings.
type Variants interface{ Variants() []Variant }

// Variant is one of them, for help and schema.
type Variant struct {
	Key, Value string // `algorithm`, `gptq`
	Settings   any    // pointer to a struct with defaults; nil where it has no keys of its own
	Nested     bool   // its keys stand in a mapping of their own, under Key.Value
}

// Model is a model that a stage reads.
type Model struct {
	Name   string
	Path   string // where it lies; empty in a plan while it has not been made
	Digest string // of its content; empty while it has not been made
	Bytes  int64
	// Forecast is what the Plan of the stage that will make it returned as Estimate.Model, nil for a model that is there.
	Forecast any
}

// Planning is what a stage knows while a run is planned.
type Planning struct {
	Name   string // of the stage
	In     *Model // the model it starts from; nil for kinds that start from nothing or measure
	Seed   uint64
	Refs   map[string]*Model // the models its settings name, by what they wrote
	Kernel string
}

// Estimate is what a stage is going to cost. Zero means unknown.
type Estimate struct {
	OutputBytes int64   // exact, where it can be
	PeakMemory  int64   // bytes
	Seconds     float64 // on this machine
	Model       any     // what the next stage's Plan needs to know of the model that will come out
	Details     []string
	Warnings    []string
}

var kinds = map[string]*Kind{}

// Register makes a kind of stage known. It panics on a name that is taken, since that is a mistake in the program.
func Register(k Kind) {
	if kinds[k.Name] != nil || k.New == nil || slices.Contains(stepKeys, k.Name) {
		panic(fmt.Sprintf("recipes: kind %q cannot be registered", k.Name))
	}
	strict.Fields(k.New()) // panics on keys declared twice
	kinds[k.Name] = &k
}

// kindNames returns the names of all kinds, sorted.
func kindNames() []string {
	names := make([]string, 0, len(kinds))
	for n := range kinds {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// structs returns the pointers to all structs that take a stage's keys.
func structs(s Stage) []any {
	all := []any{s}
	for i := 0; i < len(all); i++ {
		if e, ok := all[i].(strict.Extender); ok {
			more, err := e.Extra()
			if err == nil { // decoding has reported it
				all = append(all, more...)
			}
		}
	}
	return all
}

// field is a setting that names models or files.
type field struct {
	strict.Field
	at strict.Node // the stage's settings
}

// fields returns the settings that carry a tag.
func (s *Step) fields(tag string) []field {
	var list []field
	for _, f := range strict.Fields(structs(s.Settings)...) {
		if f.Tag.Get(tag) != "" {
			list = append(list, field{f, s.settings})
		}
	}
	return list
}

// texts returns the field's strings: one, or those of a list, or the values of a map in the order of its keys.
func (f field) texts() []string {
	switch v := f.Value; v.Kind() {
	case reflect.String:
		return []string{v.String()}
	case reflect.Slice:
		return v.Interface().([]string)
	case reflect.Map:
		var list []string
		for _, k := range f.keys() {
			list = append(list, v.MapIndex(reflect.ValueOf(k)).String())
		}
		return list
	}
	panic(fmt.Sprintf("recipes: field %s.%s cannot name files or models", f.Struct, f.Go))
}

func (f field) keys() []string {
	var keys []string
	for _, k := range f.Value.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	return keys
}

// set replaces what texts returned.
func (f field) set(texts []string) {
	switch v := f.Value; v.Kind() {
	case reflect.String:
		v.SetString(texts[0])
	case reflect.Slice:
		v.Set(reflect.ValueOf(slices.Clone(texts)))
	case reflect.Map:
		for i, k := range f.keys() {
			v.SetMapIndex(reflect.ValueOf(k), reflect.ValueOf(texts[i]))
		}
	}
}

// node returns where the i-th text was written, or the stage's settings where it is a default.
func (f field) node(i int) strict.Node {
	n, ok := f.at.Get(f.Key)
	if !ok {
		return f.at.Named(f.at.Path() + "." + f.Key)
	}
	if f.Value.Kind() == reflect.Map {
		if c, ok := n.Get(f.keys()[i]); ok {
			return c
		}
		return n
	}
	if list := n.List(); i < len(list) {
		return list[i]
	}
	return n
}

// isPath reports a reference to a model that is written as a path or address, not as a stage's name.
func isPath(ref string) bool {
	return strings.ContainsAny(ref, `/\`) || strings.HasSuffix(ref, ".gguf")
}

// isAddress reports a model that has to be fetched.
func isAddress(ref string) bool { return strings.Contains(ref, "://") }
