package quantize

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
)

// Card is what the README.md beside a quantized model says. Everything in it depends on the model and the settings alone, so
// that the same work gives the same bytes.
type Card struct {
	Name      string // of the artifact
	Base      string // what was quantized
	Format    string // as users name it
	Algorithm string
	Settings  string   // as a recipe has them, YAML
	Inputs    []string // what else went in, with digests
	File      string   // the GGUF file; empty for a safetensors directory
	Adapter   string   // the adapter that corrects it, as seen from the card; empty for none
	Report    *Report
	// Evaluation is a section in Markdown on how good the model is; empty for none.
	Evaluation string
}

// errorsTitle heads the table that every card has.
const errorsTitle = "\n## What each matrix lost\n"

// IsCard reports whether a text is a card.
func IsCard(text []byte) bool { return bytes.Contains(text, []byte(errorsTitle)) }

// Markdown returns the card.
func (c *Card) Markdown() []byte {
	var b strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	w("# %s\n", c.Name)
	w("%s quantized to %s by %s: %.2f MB of weights, %.3f bits each.\n", plainName(c.Base), DisplayName(c.Format), c.Algorithm,
		float64(c.Report.Bytes)/1e6, c.Report.BitsPerWeight)
	w("## How to run it\n")
	if c.File != "" {
		w("    pare generate %s -p \"Once upon a time\"\n    llama-cli -m %s -p \"Once upon a time\"\n", c.File, c.File)
		w("For ollama, a file `Modelfile` with the line `FROM ./%s`, then\n", c.File)
		w("    ollama create %s -f Modelfile && ollama run %s\n", c.Name, c.Name)
		if c.Adapter != "" {
			w("With the correction of what rounding lost: `pare generate %s`, `llama-cli -m %s --lora %s`, or in the Modelfile `ADAPTER ./%s`.\n",
				c.Adapter, c.File, c.Adapter, c.Adapter)
		}
	} else {
		w("    pare generate . -p \"Once upon a time\"\n    vllm serve .\n")
		if c.Adapter != "" {
			w("With the correction of what rounding lost, in %s: `pare generate` takes that directory as a model, and\n", c.Adapter)
			w("    vllm serve . --enable-lora --lora-modules corrected=%s\n", c.Adapter)
		}
	}
	w("## How it was made\n")
	if c.Settings != "" {
		for _, line := range strings.Split(strings.TrimSpace(c.Settings), "\n") {
			w("    %s", line)
		}
		w("")
	}
	for _, in := range c.Inputs {
		w("- %s", in)
	}
	for _, note := range c.Report.Notes {
		w("- %s", note)
	}
	if r := c.Report.Budget; r != nil {
		w("\n## Why each matrix has its format\n")
		w("Chosen by %s; mean divergence of the plan, rounded to nearest: %.5f.\n", r.Plan, r.Divergence)
		w("| matrix | format | bits | error | sensitivity |\n|---|---|--:|--:|--:|")
		for _, x := range r.Rows {
			w("| %s | %s | %.3f | %.3g | %.3g |", x.Name, DisplayName(x.Format), x.Bits, x.Error, x.Sensitivity)
		}
	}
	c.errors(w)
	b.WriteString(c.Evaluation)
	return []byte(b.String())
}

// errors is the table of what each matrix lost.
func (c *Card) errors(w func(format string, args ...any)) {
	w(errorsTitle)
	w("Relative squared error of the output on the calibration text, and on text held out of it; of the weights where there is no text.\n")
	if c.Adapter != "" {
		w("| matrix | format | error | held out | with the adapter | note |\n|---|---|--:|--:|--:|---|")
	} else {
		w("| matrix | format | error | held out | note |\n|---|---|--:|--:|---|")
	}
	for _, x := range c.Report.Tensors {
		held := ""
		if x.Held > 0 {
			held = fmt.Sprintf("%.3g", x.Held)
		}
		if c.Adapter != "" && x.Corrected > 0 {
			held += fmt.Sprintf(" | %.3g", x.Corrected)
		} else if c.Adapter != "" {
			held += " | "
		}
		w("| %s | %s | %.3g | %s | %s |", x.Name, DisplayName(x.Format), x.Error, held, strings.ReplaceAll(x.Note, "|", "\\|"))
	}
}

// plainName returns a path's last element: the card is read on other machines.
func plainName(path string) string {
	if path == "" {
		return "A model"
	}
	return filepath.Base(path)
}
