package recipes

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model/tensor"
)

// Recipe says which model is made how, and what it must be worth. Paths are relative to the recipe's file.
type Recipe struct {
	// Description is a sentence for `pare recipes list` and the report.
	Description string `yaml:"description"`
	// Model is where it starts: a Hugging Face directory, a .gguf file, an artifact of a run, or hf://org/name. Stages
	// refer to it as base. Only a recipe whose first stage makes a model from nothing does without.
	Model string `yaml:"model"`
	// Data is the text that stages calibrate on, learn from and are measured with.
	Data Data `yaml:"data"`
	// Seed starts every random choice. The same recipe with the same seed gives the same bytes.
	Seed uint64 `yaml:"seed"`
	// Stages run in this order. Each has a name, one kind (prune, quantize, ...) with its settings, and starts from the
	// model before it or from the one that `from` names; so branches share their beginning.
	Stages []Step `yaml:"stages"`
	// Gate is what a model must hold for the run to succeed (exit code 3 where it does not): one set of demands or a list.
	Gate []Gate `yaml:"gate"`

	name     string
	dir      string // what relative paths start from
	trusted  bool   // comes with pare itself
	root     strict.Node
	warnings []string
}

// Data names text files. Each is a file, a directory, a pattern such as ./corpus/**/*.txt, or a list of those. Files ending
// in .jsonl hold one JSON object with a `text` per line.
type Data struct {
	// Calib is what pruning and quantization look at to see which weights matter.
	Calib []string `yaml:"calib"`
	// Train is what distillation learns from.
	Train []string `yaml:"train"`
	// Heldout is what quality is measured on. It must not be in the other two.
	Heldout []string `yaml:"heldout"`
}

// Step is one stage of a recipe.
type Step struct {
	// Name is what other stages, the gate and the report call it. Without one it is called like its kind.
	Name string
	// From is the stage whose model this one starts from, or base. Without one it is the model before it.
	From string
	// Seed starts the random choices of this stage; without one it is the recipe's.
	Seed *uint64
	// Kind is the one other key: prune, distill, quantize, ...
	Kind string
	// Settings holds the kind's settings.
	Settings Stage

	node     strict.Node // the whole step
	settings strict.Node // the kind's value
}

// Gate is a set of demands on one model. What is not given is not demanded. A demand on something that was not
// measured is not met.
type Gate struct {
	// Model is the stage whose model is held to this.
	Model string `yaml:"model"`
	// Baseline is the model that degradation counts from. Without one it is base, or the first model that is made.
	Baseline string `yaml:"baseline"`
	// MaxDegradation is how much worse than the baseline a metric may be, as a share: perplexity, top1_agreement, a task's
	// name, decode, ...
	MaxDegradation map[string]float64 `yaml:"max_degradation" min:"0"`
	// MaxPerplexity is the highest perplexity.
	MaxPerplexity float64 `yaml:"max_perplexity" above:"0"`
	// MaxKLD is the highest mean Kullback-Leibler divergence from the baseline, in nats.
	MaxKLD float64 `yaml:"max_kld" above:"0"`
	// MinTop1Agreement is the lowest share of positions where the best token is the baseline's.
	MinTop1Agreement float64 `yaml:"min_top1_agreement" above:"0" max:"1"`
	// MinAccuracy is the lowest score: of every task, or a mapping from the task's name.
	MinAccuracy Floors `yaml:"min_accuracy" min:"0" max:"1"`
	// MaxSize is the largest size of the model's files.
	MaxSize int64 `yaml:"max_size" unit:"bytes" above:"0"`
	// MaxBitsPerWeight is the highest average of stored bits per parameter.
	MaxBitsPerWeight float64 `yaml:"max_bits_per_weight" above:"0"`
	// MaxMemory is the most memory the model may take while it runs.
	MaxMemory int64 `yaml:"max_memory" unit:"bytes" above:"0"`
	// MinTokensPerS is the slowest decoding, in tokens per second.
	MinTokensPerS float64 `yaml:"min_tokens_per_s" above:"0"`
	// MinPrefillTokensPerS is the slowest reading of a prompt, in tokens per second.
	MinPrefillTokensPerS float64 `yaml:"min_prefill_tokens_per_s" above:"0"`
}

// Floors are lowest scores by task; the key * stands for every task.
type Floors map[string]float64

// UnmarshalText takes one score for every task.
func (f *Floors) UnmarshalText(text []byte) error {
	x, err := strict.ParseReal(string(text))
	if err != nil {
		return err
	}
	*f = Floors{"*": x}
	return nil
}

// Base is the name under which a recipe's own model is known.
const Base = "base"

// Name returns the recipe's name: its file without the extension.
func (r *Recipe) Name() string { return r.name }

// Warnings returns what an author should look at, though it is no error.
func (r *Recipe) Warnings() []string { return r.warnings }

// stepKeys are the keys of a stage beside the one that is its kind.
var stepKeys = []string{"name", "from", "seed"}

// DecodeNode implements strict.NodeDecoder.
func (s *Step) DecodeNode(n strict.Node) error {
	s.node = n
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	known := append(slices.Clone(stepKeys), kindNames()...)
	var errs []error
	for _, p := range pairs {
		var err error
		switch k := kinds[p.Key]; {
		case p.Key == "name":
			s.Name, err = p.Value.Text()
		case p.Key == "from":
			s.From, err = p.Value.Text()
		case p.Key == "seed":
			s.Seed = new(uint64)
			err = p.Value.Scalar(s.Seed)
		case k == nil:
			err = p.Unknown(known)
		case s.Settings != nil:
			err = p.Errorf(tensor.ErrInvalid, "a stage is of one kind, this one is %s already: make it a stage of its own", s.Kind)
		default:
			s.Kind, s.Settings, s.settings = p.Key, k.New(), p.Value.Named(p.Key)
			if name, ok := n.Get("name"); ok {
				if text, err := name.Text(); err == nil && text != p.Key {
					s.settings = s.settings.Named(text + "." + p.Key)
				}
			}
			err = s.settings.Decode(s.Settings)
		}
		errs = append(errs, err)
	}
	if s.Settings == nil && len(errs) == len(pairs) && strict.Join(errs...) == nil {
		errs = append(errs, n.Errorf(tensor.ErrInvalid, "does nothing: give it one of %v", kindNames()))
	}
	return strict.Join(errs...)
}

var stageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// structure checks what the stages say about each other.
func (r *Recipe) structure() error {
	var errs []error
	if len(r.Stages) == 0 {
		errs = append(errs, r.root.Errorf(tensor.ErrInvalid, "has no stages"))
	}
	reserved := []string{Base}
	for _, f := range strict.Fields(r) {
		reserved = append(reserved, f.Key)
	}
	var models, asides, names []string // names that a later stage may start from; that it may only refer to; all names
	if r.Model != "" {
		models = []string{Base}
	}
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.Name == "" {
			s.Name = s.Kind
		}
		at := func(key, format string, args ...any) {
			n := s.node
			if v, ok := n.Get(key); ok {
				n = v
			}
			errs = append(errs, n.Errorf(tensor.ErrInvalid, format, args...))
		}
		switch {
		case !stageName.MatchString(s.Name):
			at("name", "%q is no name: letters, digits, dots, dashes and underscores, at most 64", s.Name)
		case slices.Contains(reserved, s.Name):
			at("name", "%q has a meaning of its own, choose another name", s.Name)
		case slices.Contains(names, s.Name):
			at("name", "%q is the name of an earlier stage too", s.Name)
		}
		errs = append(errs, s.links(models, asides, names))
		switch u, ok := s.Settings.(Seeded); {
		case !ok || !u.UsesSeed():
			if s.Seed != nil {
				at("seed", "nothing is left to chance in %s", s.Name)
			}
		case s.Seed == nil:
			s.Seed = &r.Seed
		}
		names = append(names, s.Name)
		switch k := kinds[s.Kind]; {
		case k.Aside:
			asides = append(asides, s.Name)
		case !k.Measures:
			models = append(models, s.Name)
		}
	}
	errs = append(errs, r.gates(models))
	return strict.Join(errs...)
}

// links checks and completes `from` and the references in the settings. models are the names before this stage that
// stand for models, asides those of other things, names all of them.
func (s *Step) links(models, asides, names []string) error {
	k := kinds[s.Kind]
	from, given := s.node.Get("from")
	switch {
	case k.Starts && given:
		return from.Errorf(tensor.ErrInvalid, "%s makes a model from nothing and starts from none", s.Kind)
	case k.Measures && given:
		return from.Errorf(tensor.ErrInvalid, "%s starts from no model: it names those it measures", s.Kind)
	case k.Aside && given:
		return from.Errorf(tensor.ErrInvalid, "%s starts from no model: its settings name what it needs", s.Kind)
	case k.Starts || k.Measures || k.Aside:
	case given:
		if !slices.Contains(models, s.From) {
			return from.Errorf(tensor.ErrInvalid, "%s", noModel(s.From, models, names))
		}
	case len(models) == 0:
		return s.node.Errorf(tensor.ErrInvalid, "%s has no model to start from: give the recipe a model or begin with a stage that makes one", s.Kind)
	default:
		s.From = models[len(models)-1]
	}
	var errs []error
	for _, f := range s.fields("ref") {
		if f.Tag.Get("ref") == "all" && f.Value.Len() == 0 {
			f.set(models)
		}
		for i, ref := range f.texts() {
			if ref == "" || isPath(ref) || slices.Contains(models, ref) || f.Tag.Get("ref") == "any" && slices.Contains(asides, ref) {
				continue
			}
			errs = append(errs, f.node(i).Errorf(tensor.ErrInvalid, "%s", noModel(ref, models, names)))
		}
	}
	if k.Measures && len(models) == 0 {
		errs = append(errs, s.node.Errorf(tensor.ErrInvalid, "%s has no model to measure: give the recipe a model or begin with a stage that makes one", s.Kind))
	}
	return strict.Join(errs...)
}

// noModel says why a name is no model here.
func noModel(name string, models, names []string) string {
	if slices.Contains(names, name) {
		return fmt.Sprintf("%q makes no model", name)
	}
	return fmt.Sprintf("no model %q before this stage%s", name, strict.DidYouMean(name, models))
}

// gates checks the demands and completes their baselines.
func (r *Recipe) gates(models []string) error {
	var errs []error
	root, _ := r.root.Get("gate")
	nodes := root.List()
	for i := range r.Gate {
		g := &r.Gate[i]
		at := func(key, format string, args ...any) {
			n := nodes[i]
			if v, ok := n.Get(key); ok {
				n = v
			}
			errs = append(errs, n.Errorf(tensor.ErrInvalid, format, args...))
		}
		if g.Model == "" {
			at("", "names no model")
		} else if !slices.Contains(models, g.Model) {
			at("model", "no model %q in this recipe%s", g.Model, strict.DidYouMean(g.Model, models))
		}
		if g.Baseline == "" && len(models) > 0 {
			g.Baseline = models[0]
		} else if g.Baseline != "" && !slices.Contains(models, g.Baseline) {
			at("baseline", "no model %q in this recipe%s", g.Baseline, strict.DidYouMean(g.Baseline, models))
		}
		demands := g.demands()
		if len(demands) == 0 {
			at("", "demands nothing: give it max_degradation, max_size, ...")
		}
		if slices.ContainsFunc(demands, func(d demand) bool { return d.metric != "size" }) && !r.measured(g.Model) {
			at("", "%s is not measured: name it in the models of an eval stage", g.Model)
		}
	}
	return strict.Join(errs...)
}

// measured reports whether a stage that measures names the model.
func (r *Recipe) measured(model string) bool {
	for i := range r.Stages {
		s := &r.Stages[i]
		if !kinds[s.Kind].Measures {
			continue
		}
		for _, f := range s.fields("ref") {
			if slices.Contains(f.texts(), model) {
				return true
			}
		}
	}
	return false
}
