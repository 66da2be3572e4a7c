// Package simd holds pare's vector kernels. Every exported function checks lengths once and calls the fastest
// implementation the CPU has; the plain Go twin beside it says what it means.
package simd
