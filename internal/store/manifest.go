package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parelm/pare/internal/fsx"
)

// ManifestName is the file that makes a directory an artifact.
const ManifestName = "manifest.json"

const (
	manifestFormat = 1
	manifestLimit  = 64 << 20 // 262144 files of 200 bytes each
)

// Errors about artifacts on disk. Test with errors.Is.
var (
	ErrNoArtifact = errors.New("not an artifact of pare")            // no manifest
	ErrDamaged    = errors.New("damaged")                            // a manifest that does not hold
	ErrExists     = errors.New("exists already")                     // an output whose name is taken
	ErrOverlap    = errors.New("output and input are in each other") // an output that is, holds or lies in an input
)

// Manifest says what is in an artifact and what made it. It is written last and covers every other file.
type Manifest struct {
	Format   int             `json:"format"`
	Pare     string          `json:"pare"`               // version of the tool
	Name     string          `json:"name"`               // what the recipe calls it
	Key      string          `json:"key,omitempty"`      // digest of what made it: stage, settings, inputs, data, seed, tool
	Stage    string          `json:"stage"`              // kind of the stage, or the verb
	Settings json.RawMessage `json:"settings,omitempty"` // resolved, with every default
	Seed     *uint64         `json:"seed,omitempty"`     // where the stage uses one
	Inputs   []Input         `json:"inputs,omitempty"`   // models and data it was made from
	Lineage  []Step          `json:"lineage,omitempty"`  // the stages that led to its input, first one first
	Started  time.Time       `json:"started"`
	Seconds  float64         `json:"seconds"`
	Files    []FileEntry     `json:"files"`  // sorted by name; all files but the manifest
	Digest   string          `json:"digest"` // of Files without the volatile ones: what the artifact is, whenever it was made
	Check    string          `json:"check"`  // SHA-256 of the manifest with this field empty
}

// Input is one thing an artifact was made from.
type Input struct {
	Role   string `json:"role"` // "model", "teacher", "calib", ...
	Name   string `json:"name"` // stage, or path as the recipe gave it
	Digest string `json:"digest"`
}

// Step is one ancestor of an artifact.
type Step struct {
	Name     string          `json:"name"`
	Stage    string          `json:"stage"`
	Settings json.RawMessage `json:"settings,omitempty"`
	Seed     *uint64         `json:"seed,omitempty"`
	Digest   string          `json:"digest"`
}

// FileEntry is one file of an artifact. Name has slashes on every system.
type FileEntry struct {
	Name     string `json:"name"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
	Volatile bool   `json:"volatile,omitempty"` // differs from run to run (timings): verified, but no part of the digest
}

// Digest returns the digest of a set of files, independent of their order and of when they were written.
func Digest(files []FileEntry) string {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b FileEntry) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	fmt.Fprintf(h, "pare artifact 1\n")
	for _, f := range files {
		if !f.Volatile {
			fmt.Fprintf(h, "%q %d %s\n", f.Name, f.Bytes, f.SHA256)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// encode returns the manifest's bytes, with its digest and its check set.
func (m *Manifest) encode() ([]byte, error) {
	m.Format = manifestFormat
	m.Started = m.Started.UTC().Truncate(time.Second)
	slices.SortFunc(m.Files, func(a, b FileEntry) int { return strings.Compare(a.Name, b.Name) })
	m.Digest, m.Check = Digest(m.Files), ""
	blank, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(blank)
	m.Check = hex.EncodeToString(sum[:])
	data, err := json.MarshalIndent(m, "", "  ")
	return append(data, '\n'), err
}

// decodeManifest accepts exactly what encode writes, so that no flipped bit passes.
func decodeManifest(data []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrDamaged, ManifestName, err)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("%w: %s has format %d, this pare (format %d) cannot read it", ErrDamaged, ManifestName, m.Format, manifestFormat)
	}
	for _, f := range m.Files {
		if err := checkName(f.Name); err != nil {
			return nil, fmt.Errorf("%w: %s: %v", ErrDamaged, ManifestName, err)
		}
	}
	again := *m
	again.Files = slices.Clone(m.Files)
	want, err := again.encode()
	if err != nil || !bytes.Equal(want, data) {
		return nil, fmt.Errorf("%w: %s does not match its own checksum", ErrDamaged, ManifestName)
	}
	return m, nil
}

// ReadManifest reads the manifest of an artifact directory without looking at the other files.
func ReadManifest(fsys fsx.FS, dir string) (*Manifest, error) {
	data, err := fsx.ReadFile(fsys, filepath.Join(dir, ManifestName), manifestLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: it has no %s", dir, ErrNoArtifact, ManifestName)
	}
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return m, nil
}

// checkName accepts names of files inside an artifact: local, with slashes, portable.
func checkName(name string) error {
	switch {
	case name == "" || !filepath.IsLocal(name) || path.Clean(name) != name || strings.ContainsAny(name, "\\:\x00\n"):
		return fmt.Errorf("file name %q does not stay inside its directory", name)
	case name == ManifestName:
		return fmt.Errorf("file name %q is taken", name)
	}
	return nil
}
