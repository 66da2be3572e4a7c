//go:build arm64 && !purego

package par

// pause tells the core that this is a spin loop, which leaves its other thread the execution units and saves power.
func pause()
