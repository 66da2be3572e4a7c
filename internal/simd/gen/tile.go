package gen

import "fmt"

// AMX instructions, which the Go assembler does not know, as bytes. All are VEX.128 in map 0F38 with W0 (Intel's
// "Instruction Set Extensions Programming Reference", chapter 3).

// Prefixes of the VEX encoding.
const (
	ppNone = iota
	pp66
	ppF3
	ppF2
)

// generals numbers the general registers.
var generals = map[string]int{"AX": 0, "CX": 1, "DX": 2, "BX": 3, "SI": 6, "DI": 7, "R8": 8, "R9": 9, "R10": 10, "R11": 11, "R12": 12, "R13": 13, "R15": 15}

func (g *fn) raw(b ...byte) {
	s := ""
	for i, x := range b {
		if i > 0 {
			s += "; "
		}
		s += fmt.Sprintf("BYTE $0x%02x", x)
	}
	g.op("%s", s)
}

// vex emits a VEX prefix, opcode and operand bytes. base and index extend rm; v is the second source, -1 for none.
func (g *fn) vex(pp int, opcode byte, v, base, index int, tail ...byte) {
	second := byte(0xe2)
	if index >= 8 {
		second &^= 0x40
	}
	if base >= 8 {
		second &^= 0x20
	}
	g.raw(append([]byte{0xc4, second, byte(^max(v, 0)&15)<<3 | byte(pp), opcode}, tail...)...)
}

// tileMemory emits an instruction on the tile whose first row is at base+disp and whose rows are index bytes apart.
func (g *fn) tileMemory(pp, tile int, base string, disp int, index string) {
	b, i := generals[base], generals[index]
	g.op("// tile %d, %d(%s)(%s*1)", tile, disp, base, index)
	g.vex(pp, 0x4b, -1, b, i, byte(0x84|tile<<3), byte(i&7<<3|b&7), byte(disp), byte(disp>>8), byte(disp>>16), byte(disp>>24))
}

func (g *fn) tileLoad(tile int, base string, disp int, index string) {
	g.tileMemory(ppF2, tile, base, disp, index)
}
func (g *fn) tileStore(tile int, base string, disp int, index string) {
	g.tileMemory(ppF3, tile, base, disp, index)
}
func (g *fn) tileZero(tile int) { g.vex(ppF2, 0x49, -1, 0, 0, byte(0xc0|tile<<3)) }

// tileDot emits dst += a * b for bytes, a signed and b signed or not.
func (g *fn) tileDot(unsigned bool, dst, a, b int) {
	pp := ppF2
	if unsigned {
		pp = ppF3
	}
	g.vex(pp, 0x5e, b, 0, 0, byte(0xc0|dst<<3|a))
}

// tileDotBrain emits dst += a * b for pairs of bfloat16.
func (g *fn) tileDotBrain(dst, a, b int) { g.vex(ppF3, 0x5c, b, 0, 0, byte(0xc0|dst<<3|a)) }

// tileConfig loads the shapes of the tiles from the 64 bytes at base; tileRelease forgets them.
func (g *fn) tileConfig(base string) {
	g.vex(ppNone, 0x49, -1, generals[base], 0, byte(generals[base]&7))
}
func (g *fn) tileRelease() { g.vex(ppNone, 0x49, -1, 0, 0, 0xc0) }
