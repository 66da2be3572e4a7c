package codec

import "encoding/binary"

// The ternary formats of BitNet and TriLM models: super-blocks of 256 values -d, 0, d with a half d = max|x| at the end.
//
//	tq2_0  64 bytes of two-bit codes; byte 32h+m holds values 128h + m + {0,32,64,96}
//	tq1_0  five codes a byte, as the byte q*256/243 rounded up of their base-3 number q (the first code most significant), so
//	       that multiplying by powers of three moves each code to the top: 32 bytes for values m + {0,32,64,96,128},
//	       16 bytes for 160 + m + {0,16,32,48,64}, 4 bytes of four codes for 240 + m + {0,4,8,12}
//
// Also here: q1_0, blocks of 128 signs with a half d = mean|x|, and q2_0, blocks of 64 two-bit codes of -d, 0, d, 2d.

func init() {
	Register(&block{"tq1_0", 256, 54, decodeTQ1, encodeTQ1})
	Register(&block{"tq2_0", 256, 66, decodeTQ2, encodeTQ2})
	Register(&block{"q1_0", 128, 18, decodeQ1, encodeQ1})
	Register(&block{"q2_0", 64, 18, decodeQ2, encodeQ2})
}

// tq1Runs lists the runs of bytes of a tq1_0 block: where they begin, how many, the first value, codes in each.
var tq1Runs = [...]struct{ at, n, value, codes int }{{0, 32, 0, 5}, {32, 16, 160, 5}, {48, 4, 240, 4}}

func decodeTQ1(dst []float32, src []byte) {
	for i := range len(dst) / 256 {
		y, b := dst[256*i:256*i+256], (*[54]byte)(src[54*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[52:]))
		for _, r := range tq1Runs {
			for m := range r.n {
				q := b[r.at+m]
				for k := range r.codes {
					y[r.value+k*r.n+m] = float32(int(uint16(q)*3>>8)-1) * d
					q *= 3
				}
			}
		}
	}
}

func encodeTQ1(dst []byte, src, _ []float32) {
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[54]byte)(dst[54*i:])
		inverse := putMax(b[52:], x)
		for _, r := range tq1Runs {
			for m := range r.n {
				q := 0
				for k := range r.codes {
					q = 3*q + ternary(x[r.value+k*r.n+m]*inverse)
				}
				if r.codes == 4 {
					q *= 3
				}
				b[r.at+m] = byte((q*256 + 242) / 243)
			}
		}
	}
}

// putMax writes the largest magnitude as a half and returns its inverse, 0 for a block of zeros.
func putMax(b []byte, x []float32) float32 {
	_, d := largest(x)
	binary.LittleEndian.PutUint16(b, F32ToF16(d))
	if d == 0 {
		return 0
	}
	return 1 / d
}

// ternary rounds a value in [-1,1] to 0, 1 or 2.
func ternary(v float32) int { return int(max(0, min(2, roundAway(v)+1))) }

func decodeTQ2(dst []float32, src []byte) {
	for i := range len(dst) / 256 {
		y, b := dst[256*i:256*i+256], (*[66]byte)(src[66*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[64:]))
		for j := range y {
			y[j] = float32(int(b[j/128*32+j%32]>>(j/32%4*2)&3)-1) * d
		}
	}
}

func encodeTQ2(dst []byte, src, _ []float32) {
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[66]byte)(dst[66*i:])
		inverse := putMax(b[64:], x)
		clear(b[:64])
		for j, v := range x {
			b[j/128*32+j%32] |= byte(ternary(v*inverse)) << (j / 32 % 4 * 2)
		}
	}
}

func decodeQ1(dst []float32, src []byte) {
	for i := range len(dst) / 128 {
		y, b := dst[128*i:128*i+128], (*[18]byte)(src[18*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		for j := range y {
			y[j] = -d
			if b[2+j/8]>>(j%8)&1 != 0 {
				y[j] = d
			}
		}
	}
}

func encodeQ1(dst []byte, src, _ []float32) {
	for i := range len(src) / 128 {
		x, b := src[128*i:128*i+128], (*[18]byte)(dst[18*i:])
		clear(b[:])
		var sum float32
		for j, v := range x {
			sum += abs(v)
			if v >= 0 {
				b[2+j/8] |= 1 << (j % 8)
			}
		}
		binary.LittleEndian.PutUint16(b[:], F32ToF16(sum/128))
	}
}

func decodeQ2(dst []float32, src []byte) {
	for i := range len(dst) / 64 {
		y, b := dst[64*i:64*i+64], (*[18]byte)(src[18*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		for j := range y {
			y[j] = float32(int(b[2+j/4]>>(j%4*2)&3)-1) * d
		}
	}
}

func encodeQ2(dst []byte, src, _ []float32) {
	for i := range len(src) / 64 {
		x, b := src[64*i:64*i+64], (*[18]byte)(dst[18*i:])
		inverse := putMax(b[:], x)
		clear(b[2:])
		for j, v := range x {
			b[2+j/4] |= byte(max(0, min(3, roundAway(v*inverse)+1))) << (j % 4 * 2)
		}
	}
}
