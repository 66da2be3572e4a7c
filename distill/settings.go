package distill

import (
	"fmt"

	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
)

// Settings says how a student is trained.
type Settings struct {
	// Losses are what training makes small: a mapping from the name of a loss to its weight, or to a mapping with its weight and
	// settings of its own. Without any it is kl where there is a teacher, else ce.
	Losses Losses `yaml:"losses"`
	// TeacherCache, when given, asks the teacher once for each sequence and keeps a few bytes a token of its answers for the
	// epochs that follow; for the loss kl at temperature 1. {} keeps 20 top tokens and 10 draws.
	TeacherCache *Sparse `yaml:"teacher_cache"`
	// OnPolicy, when given, lets the student write a share of the sequences itself, and the teacher judge them: GKD. Use it with jsd.
	OnPolicy *OnPolicy `yaml:"on_policy"`
	// Temperature softens the probabilities of teacher and student in losses that do not give one of their own.
	Temperature float64 `yaml:"temperature" above:"0"`
	// Tune is what training changes: weights; or scales, those of a student that is quantized already, with its norms and biases,
	// while its codes stay as they are. The result is then stored as the student was.
	Tune string `yaml:"tune" oneof:"weights scales"`
	// Targets are the weights that are trained, by canonical name or, after re:, by regular expression; none means all.
	Targets []string `yaml:"targets"`
	// Ignore are the weights that stay as they are, likewise.
	Ignore []string `yaml:"ignore"`
	// LoRA, when given, trains thin matrices beside the chosen ones and adds them in at the end.
	LoRA *LoRA `yaml:"lora"`
	// Steps is how many times the weights are changed.
	Steps int `yaml:"steps" min:"1"`
	// BatchSize is the number of sequences that go through the student at once.
	BatchSize int `yaml:"batch_size" min:"1" max:"65536"`
	// GradientAccumulation is the number of batches whose gradients are added up for one step.
	GradientAccumulation int `yaml:"gradient_accumulation" min:"1" max:"65536"`
	// GradientCheckpointing keeps of each layer its input alone and computes the rest a second time when gradients need it: less
	// memory for a third more work. It does not go with losses on hidden states or attention.
	GradientCheckpointing bool `yaml:"gradient_checkpointing"`
	// Backend is what computes: pare; go, GoMLX's own; or, in a program built for it, xla:cuda, xla:cpu or xla:tpu. Empty
	// means $GOMLX_BACKEND, else pare.
	Backend string `yaml:"backend"`
	// Devices is how many of the backend's devices share a batch: each holds the whole student and takes batch_size / devices
	// sequences, and the gradients are added up. Those of pare itself are parts of the host's memory that take turns, to try out here
	// what is meant for several GPUs.
	Devices int `yaml:"devices" min:"1" max:"1024"`
	// MaxSeqLength is the length of a sequence in tokens; 0 means the student's context, at most 256.
	MaxSeqLength int `yaml:"max_seq_length" min:"0"`
	// LearningRate is the highest learning rate, reached after the warm-up.
	LearningRate float64 `yaml:"learning_rate" above:"0" below:"1"`
	// Schedule is how the learning rate goes down after the warm-up: cosine, linear, constant, or wsd: constant, then
	// linear over the last part.
	Schedule string `yaml:"schedule" oneof:"cosine linear constant wsd"`
	// CooldownRatio is that part of wsd, as a share of the steps after the warm-up.
	CooldownRatio float64 `yaml:"cooldown_ratio" above:"0" max:"1"`
	// WarmupRatio is the share of the steps over which the learning rate grows from 0.
	WarmupRatio float64 `yaml:"warmup_ratio" min:"0" max:"1"`
	// MinLrRatio is the share of the learning rate that the schedule ends at.
	MinLrRatio float64 `yaml:"min_lr_ratio" min:"0" max:"1"`
	// WeightDecay is that of AdamW; it acts on matrices.
	WeightDecay float64 `yaml:"weight_decay" min:"0"`
	// AdamBeta1 is how slowly the mean of gradients forgets.
	AdamBeta1 float64 `yaml:"adam_beta1" above:"0" below:"1"`
	// AdamBeta2 is how slowly the mean of squared gradients forgets.
	AdamBeta2 float64 `yaml:"adam_beta2" above:"0" below:"1"`
	// MaxGradNorm is the length that gradients are clipped to; 0 means no clipping.
	MaxGradNorm float64 `yaml:"max_grad_norm" min:"0"`
	// EMA, when above 0, makes the result a running mean of the weights that forgets by this factor a step.
	EMA float64 `yaml:"ema" min:"0" below:"1"`
	// Validation is the share of the training text that is held back to watch the loss on.
	Validation float64 `yaml:"validation" min:"0" below:"1"`
	// EvalEvery is the number of steps between two looks at the loss on the validation text; 0 looks twenty times.
	EvalEvery int `yaml:"eval_every" min:"0"`
	// Patience, when above 0, ends training after so many looks without a better validation loss, and the result is the best
	// state that was seen.
	Patience int `yaml:"patience" min:"0"`
	// CheckpointEvery is the number of steps between two states that a killed run goes on from; 0 saves twenty times.
	CheckpointEvery int `yaml:"checkpoint_every" min:"0"`
	// Seed orders the text and starts what is random.
	Seed uint64 `yaml:"-"`
}

// LoRA says how thin the matrices are that are trained beside the model's (Hu et al. 2021, arXiv:2106.09685).
type LoRA struct {
	// Rank is the number of rows of one and of columns of the other; 8 where it is not given.
	Rank int `yaml:"rank" min:"1" max:"4096"`
	// Alpha divided by the rank is the factor of their product; 0 means the rank.
	Alpha float64 `yaml:"alpha" min:"0"`
}

// Default returns the settings that stand where none are given.
func Default() Settings {
	return Settings{
		Tune: tuneWeights, Temperature: 1, Steps: 400, BatchSize: 8, GradientAccumulation: 1, Devices: 1, LearningRate: 5e-4, Schedule: "cosine", CooldownRatio: 0.2, WarmupRatio: 0.05,
		MinLrRatio: 0.1, AdamBeta1: 0.9, AdamBeta2: 0.95, MaxGradNorm: 1, Validation: 0.02,
	}
}

// Length returns the length of sequences for a student.
func (s *Settings) Length(c *model.Config) int {
	if s.MaxSeqLength > 0 {
		return min(s.MaxSeqLength, c.MaxContext())
	}
	return min(256, c.MaxContext())
}

// Tokens returns how many tokens training reads.
func (s *Settings) Tokens(c *model.Config) int64 {
	return int64(s.Steps) * int64(s.BatchSize) * int64(s.GradientAccumulation) * int64(s.Length(c))
}

// every returns the distance of regular events, given or 20 over the run.
func (s *Settings) every(given int) int {
	if given > 0 {
		return given
	}
	return max(1, s.Steps/20)
}

// trainer returns the settings of the trainer.
func (s *Settings) trainer() train.Settings {
	return train.Settings{
		Optimizer: train.Optimizer{Rate: s.LearningRate, Beta1: s.AdamBeta1, Beta2: s.AdamBeta2, Decay: s.WeightDecay, Clip: s.MaxGradNorm},
		Schedule:  train.Schedule{Kind: s.Schedule, Warmup: int(s.WarmupRatio*float64(s.Steps) + 0.5), Steps: s.Steps, Floor: s.MinLrRatio, Cool: s.CooldownRatio},
		Seed:      s.Seed, EMA: s.EMA, Checkpoint: s.GradientCheckpointing, Backend: s.Backend, Devices: s.Devices,
	}
}

// Check returns an error for settings that make no sense for a student, and one for losses that need a teacher where
// there is none.
func (s *Settings) Check(m *model.Model, teacher bool) error {
	if n := s.Length(m.Config); n < 2 {
		return fmt.Errorf("sequences of %d tokens teach nothing: max_seq_length must be at least 2", n)
	}
	for _, t := range s.losses(nil) {
		if t.needs() != 0 && !teacher {
			return fmt.Errorf("loss %s needs a teacher", t.name)
		}
		if s.GradientCheckpointing && t.needs()&needInside != 0 {
			return fmt.Errorf("loss %s reads what layers hold, which gradient_checkpointing does not keep: choose one", t.name)
		}
	}
	if err := train.CheckBackend(s.Backend); err != nil {
		return err
	}
	if s.Devices > 1 && s.BatchSize%s.Devices != 0 {
		return fmt.Errorf("batch_size is %d, which %d devices cannot share evenly: make it a multiple", s.BatchSize, s.Devices)
	}
	if s.Tune == tuneScales && s.LoRA != nil {
		return fmt.Errorf("lora trains matrices beside the weights, tune: %s the scales of weights: choose one", tuneScales)
	}
	if err := s.checkOnPolicy(teacher, s.Length(m.Config)); err != nil {
		return err
	}
	_, err := s.chosen(m.Graph)
	return err
}
