package simd

func gemmSkinny(c []float32, ldc int, a, b operand, m, n, k int, accumulate bool) bool { return false }
