package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/parelm/pare/internal/fsx"
)

const logLimit = 256 << 20 // bytes of run.jsonl that ReadLog takes; an event has a few hundred

// Event is one line of run.jsonl.
type Event struct {
	Time    time.Time `json:"time"`
	Event   string    `json:"event"` // "run", "reuse", "start", "done", "failed", "interrupted", "gate", "end"
	Run     string    `json:"run,omitempty"`
	Stage   string    `json:"stage,omitempty"` // name of the stage
	Key     string    `json:"key,omitempty"`
	Digest  string    `json:"digest,omitempty"`
	Seconds float64   `json:"seconds,omitempty"`
	Note    string    `json:"note,omitempty"`
}

// openLog opens run.jsonl for appending. A power cut may have torn its last line; a newline fences that off.
func (s *Store) openLog() error {
	path := filepath.Join(s.Dir, logName)
	old, err := fsx.ReadFile(s.fsys, path, logLimit)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err != nil && !isNew {
		return err
	}
	if s.log, err = s.fsys.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666); err != nil {
		s.log = nil
		return err
	}
	if isNew {
		return s.fsys.SyncDir(s.Dir)
	}
	if len(old) > 0 && old[len(old)-1] != '\n' {
		return s.append([]byte{'\n'})
	}
	return nil
}

// Log appends an event to run.jsonl and makes it durable.
func (s *Store) Log(e Event) error {
	e.Time = time.Now().UTC().Truncate(time.Millisecond)
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := s.append(append(data, '\n')); err != nil {
		return fmt.Errorf("%s: %w", logName, err)
	}
	CrashPoint("logged")
	return nil
}

func (s *Store) append(line []byte) error {
	n, err := s.log.Write(line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return err
	}
	return s.log.Sync()
}

// ReadLog returns the events of an output directory, oldest first. Lines that a crash tore are left out.
func ReadLog(fsys fsx.FS, dir string) ([]Event, error) {
	data, err := fsx.ReadFile(fsys, filepath.Join(dir, logName), logLimit)
	if err != nil {
		return nil, err
	}
	var events []Event
	for line := range bytes.Lines(data) {
		var e Event
		if json.Unmarshal(line, &e) == nil && e.Event != "" {
			events = append(events, e)
		}
	}
	return events, nil
}
