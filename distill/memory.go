package distill

import (
	"runtime/debug"

	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
)

// What training takes of memory. A step is drawn and its arrays are placed as training will do it, so activations are no guess; what
// stands beside them is added up.

// gcPercent is the garbage that Go may let lie while training runs, in percent of what lives. Nearly all of that are a few large arrays
// without pointers, so collecting costs nothing; with Go's own 100 a model of 2 GB would take 4.
const gcPercent = 20

// spareMemory keeps the garbage of a training run low until the function that it returns is called.
func spareMemory() (restore func()) {
	was := debug.SetGCPercent(gcPercent)
	if was >= 0 && was < gcPercent { // the user wants less, or with a negative number none collected
		debug.SetGCPercent(was)
	}
	return func() { debug.SetGCPercent(was) }
}

// heldInMemory bounds the bytes of a teacher's answers about the validation text that are kept from look to look.
const heldInMemory = 128 << 20

// Footprint is the memory that training takes, in bytes.
type Footprint struct {
	Process int64 // the most that the process takes, without the files of student and teacher
	Device  int64 // what each device holds of weights, gradients, moments and working memory
}

// Memory returns what training takes. taught says that there is a teacher;
// teacher is the one that runs beside the student, nil for others; tokens is about how many the text has. Weights are not read.
func (s *Settings) Memory(student, teacher *model.Model, taught bool, tokens int64) (Footprint, error) {
	b := &build{temperature: s.Temperature, vocab: student.Config.Vocab, want: &want{}, layers: len(student.Config.Layers), width: student.Config.Hidden,
		student: student.Graph, length: s.Length(student.Config)}
	if teacher != nil {
		b.teacher, b.teacherLayers, b.teacherWidth = teacher.Graph, len(teacher.Config.Layers), teacher.Config.Hidden
	} else if taught {
		b.sparse = 30
	}
	list := s.losses(nil)
	if len(s.Losses) == 0 && taught {
		list = []named{{"kl", lossKinds["kl"]()}}
	}
	losses, err := drawn(list, b)
	if err != nil {
		return Footprint{}, err
	}
	settings, err := s.training(student.Graph)
	if err != nil {
		return Footprint{}, err
	}
	f, err := train.Foresee(student, losses, settings, s.BatchSize, b.length)
	if err != nil {
		return Footprint{}, err
	}
	devices := int64(f.Devices)
	// A teacher's answers to all batches of a step, and what it makes them from; those about the validation text.
	answers := f.Inputs * devices * int64(s.GradientAccumulation)
	if teacher != nil {
		answers += 4 * min(int64(s.BatchSize*b.length)*int64(b.vocab), answersInMemory)
	}
	if s.Validation > 0 {
		held := max(stretch, min(maxHeld, int64(s.Validation*float64(tokens))/int64(b.length)))
		answers += min(heldInMemory, f.Inputs*devices*held/int64(s.BatchSize))
	}
	device := f.Bytes(s.EMA > 0)
	if s.Tune == tuneScales { // the parameters behind the weights are few
		device -= 8 * f.Trained
	}
	n := device
	if train.OnHost(s.Backend) {
		n *= devices
	}
	// The answers; the text; the weights that come out; those of the best look.
	n += answers + 16*tokens + 4*f.Trained
	if s.Patience > 0 {
		n += 4 * f.Result
	}
	if s.Tune == tuneScales { // the codes in float32, and the blocks as they were and as they are now
		n += 8 * f.Trained
	}
	if s.OnPolicy != nil { // the student runs, to write
		n += 4 * f.Values
	}
	return Footprint{n + n*gcPercent/100, device}, nil
}

// training returns the settings of the trainer for a student.
func (s *Settings) training(g *model.Graph) (train.Settings, error) {
	chosen, err := s.chosen(g)
	out := s.trainer()
	out.Train = func(name string) bool { return chosen[name] }
	if l := s.LoRA; l != nil {
		out.LoRA = &train.LoRA{Rank: l.rank(), Alpha: l.Alpha}
	}
	return out, err
}
