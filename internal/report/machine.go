package report

import (
	"runtime"

	"github.com/parelm/pare/internal/par"
)

// ThisMachine describes the computer that runs this.
func ThisMachine() Machine {
	cpu, memory := hardware()
	return Machine{CPU: cpu, Cores: runtime.NumCPU(), Threads: par.Threads(), Memory: memory, OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
}
