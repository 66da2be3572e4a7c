package recipes

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"

	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/model"
)

// Job is a stage at work. Its files become the artifact when Run returns without an error; none is seen before.
type Job struct {
	Name string
	In   *Model            // the model it starts from; nil for kinds that start from nothing or measure
	Refs map[string]*Model // the models its settings name, by what they wrote
	Seed uint64

	dir     *store.Dir
	scratch func() (*store.Scratch, error)
	work    *Checkpoints
	note    func(string)
}

// Create begins a file of the artifact. It makes a Job a model.Sink.
func (j *Job) Create(name string) (model.SinkFile, error) { return create(j.dir.Create(name)) }

// CreateVolatile begins a file that differs from run to run, such as timings: it is verified, but is no part of what
// the artifact is.
func (j *Job) CreateVolatile(name string) (model.SinkFile, error) {
	return create(j.dir.CreateVolatile(name))
}

// create keeps a nil *store.File from becoming a SinkFile that is not nil.
func create(f *store.File, err error) (model.SinkFile, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// WriteFile writes a whole file of the artifact.
func (j *Job) WriteFile(name string, data []byte) error { return writeAll(j.Create, name, data) }

// WriteJSON writes v as a file of the artifact, or as a volatile one.
func (j *Job) WriteJSON(name string, v any, volatile bool) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	create := j.Create
	if volatile {
		create = j.CreateVolatile
	}
	return writeAll(create, name, append(data, '\n'))
}

func writeAll(create func(string) (model.SinkFile, error), name string, data []byte) error {
	f, err := create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	return errors.Join(err, f.Close())
}

// Dir returns where the artifact's files lie while the job runs, for code that reads back what it wrote.
func (j *Job) Dir() string { return j.dir.Path() }

// Note tells the user a line.
func (j *Job) Note(line string) { j.note(line) }

// Checkpoints returns what an earlier, killed run of this very stage saved, and keeps more.
func (j *Job) Checkpoints() (*Checkpoints, error) {
	if j.work == nil {
		s, err := j.scratch()
		if err != nil {
			return nil, err
		}
		j.work = &Checkpoints{s}
	}
	return j.work, nil
}

// Checkpoints are files that survive a killed run, each complete or absent. They go when the stage is done.
type Checkpoints struct{ s *store.Scratch }

// Checkpoint is an open one, checked from end to end.
type Checkpoint interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
}

// Save writes a checkpoint in one step, replacing the one of that name. The content is written in order.
func (c *Checkpoints) Save(name string, write func(w io.Writer) error) error {
	return c.s.Save(name, write)
}

// Open opens a checkpoint. It returns nil without an error where there is none, or only a damaged one.
func (c *Checkpoints) Open(name string) (Checkpoint, error) {
	f, err := c.s.Open(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrDamaged) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// List returns the names of all checkpoints, sorted.
func (c *Checkpoints) List() ([]string, error) { return c.s.List() }

// Delete removes a checkpoint; a missing one is no error.
func (c *Checkpoints) Delete(name string) error { return c.s.Delete(name) }

// Path returns the directory.
func (c *Checkpoints) Path() string { return c.s.Path() }
