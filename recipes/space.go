package recipes

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model/tensor"
)

// fits refuses a run that the disk or the memory cannot hold, before any work.
func (p *Plan) fits() error {
	dir := p.Out
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var errs []error
	if free, err := fsx.FreeBytes(dir); err == nil && p.Disk > free {
		errs = append(errs, strict.Errorf(tensor.ErrTooLarge, "output "+p.Out, "", "the run adds %s, the disk has %s free", report.Bytes(p.Disk), report.Bytes(free)))
	} else if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		errs = append(errs, err)
	}
	limit, whose := p.o.Memory, "--memory allows"
	if limit == 0 {
		limit, whose = availableMemory(), "are available (--memory SIZE overrides this)"
	}
	for _, s := range p.Stages {
		if limit > 0 && s.PeakMemory > limit {
			errs = append(errs, s.step.settings.Errorf(tensor.ErrTooLarge, "needs %s of memory, %s %s", report.Bytes(s.PeakMemory), report.Bytes(limit), whose))
		}
	}
	return strict.Join(errs...)
}
