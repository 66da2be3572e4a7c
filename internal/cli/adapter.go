package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/version"
	"github.com/parelm/pare/model"
)

// adapterTarget returns where the adapter of a model goes: beside it, as a directory or as a file.
func adapterTarget(t store.Target) store.Target {
	path := filepath.Clean(t.Path)
	if isGGUF(path) {
		end := filepath.Ext(path)
		t.Path = strings.TrimSuffix(path, end) + "-adapter" + end
	} else {
		t.Path = path + "-adapter"
	}
	return t
}

// writeAdapter writes an adapter beside the model that it belongs to.
func writeAdapter(ctx context.Context, t store.Target, m *model.Model, a model.Adapter, how store.Manifest) (string, error) {
	base, to := filepath.Base(filepath.Clean(t.Path)), adapterTarget(t)
	if isGGUF(to.Path) {
		f, err := to.File()
		if err != nil {
			return "", err
		}
		defer f.Abort()
		if err := m.SaveAdapterGGUF(f, a, base); err != nil {
			return "", err
		}
		return to.Path, f.Commit()
	}
	d, err := to.Dir()
	if err != nil {
		return "", err
	}
	defer d.Abort()
	if err := m.SaveAdapter(ctx, sink{d}, a, filepath.Join("..", base)); err != nil {
		return "", err
	}
	how.Pare, how.Seconds = version.String(), time.Since(how.Started).Seconds()
	_, err = d.Commit(how)
	return to.Path, err
}

// printAdapter says how an adapter is used.
func printAdapter(w io.Writer, path string) {
	if path == "" {
		return
	}
	load := "vllm serve MODEL --enable-lora --lora-modules corrected=" + path
	if isGGUF(path) {
		load = "llama-cli -m MODEL --lora " + path
	}
	fmt.Fprintf(w, "%s: what rounding lost, as an adapter; pare opens it as a model, others: %s\n", path, load)
}
