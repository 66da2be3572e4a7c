package torch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/parelm/pare/model/tensor"
)

// machine interprets a pickle (protocols 2 to 5 as documented in Python's pickletools).
type machine struct {
	file  string // for messages
	data  []byte
	pos   int
	stack []any
	marks []int // stack heights
	memo  []any
	spent int // estimate of the memory used so far
}

// A pickle of few bytes can ask for many objects; what they may take in memory is bounded by the pickle's length.
const (
	memoryPerByte = 6
	memoryFree    = 32 << 20
)

// unpickle returns the value that a pickle builds.
func unpickle(data []byte, file string) (any, error) {
	m := &machine{file: file, data: data}
	for {
		op, err := m.byte()
		if err != nil {
			return nil, err
		}
		if op == '.' {
			break
		}
		if err := m.step(op); err != nil {
			return nil, err
		}
	}
	v, err := m.pop()
	if err == nil && len(m.stack) > 0 {
		err = m.corrupt("%d values are left on the stack", len(m.stack))
	}
	return v, err
}

func (m *machine) corrupt(format string, args ...any) error {
	return tensor.Errorf(tensor.ErrCorrupt, m.file, fmt.Sprintf("pickle, byte %d", m.pos), format, args...)
}

func (m *machine) unsupported(format string, args ...any) error {
	return tensor.Errorf(tensor.ErrUnsupported, m.file, fmt.Sprintf("pickle, byte %d", m.pos), format, args...)
}

// spend accounts for n bytes of memory.
func (m *machine) spend(n int) error {
	m.spent += n
	if m.spent > memoryFree+memoryPerByte*len(m.data) {
		return tensor.Errorf(tensor.ErrTooLarge, m.file, fmt.Sprintf("pickle, byte %d", m.pos), "asks for far more memory than its %d bytes", len(m.data))
	}
	return nil
}

// take returns the next n bytes of the pickle.
func (m *machine) take(n uint64) ([]byte, error) {
	if n > uint64(len(m.data)-m.pos) {
		return nil, m.corrupt("ends: %d bytes are needed, %d are left", n, len(m.data)-m.pos)
	}
	b := m.data[m.pos : m.pos+int(n)]
	m.pos += int(n)
	return b, nil
}

func (m *machine) byte() (byte, error) {
	b, err := m.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// uint reads a little-endian unsigned integer of n bytes.
func (m *machine) uint(n int) (uint64, error) {
	b, err := m.take(uint64(n))
	if err != nil {
		return 0, err
	}
	var buf [8]byte
	copy(buf[:], b)
	return binary.LittleEndian.Uint64(buf[:]), nil
}

// counted reads a length of n bytes and as many bytes.
func (m *machine) counted(n int) ([]byte, error) {
	size, err := m.uint(n)
	if err != nil {
		return nil, err
	}
	return m.take(size)
}

func (m *machine) line() (string, error) {
	i := bytes.IndexByte(m.data[m.pos:], '\n')
	if i < 0 || i > 1024 {
		return "", m.corrupt("a name has no end")
	}
	s := string(m.data[m.pos : m.pos+i])
	m.pos += i + 1
	return s, nil
}

// maxStack bounds the stack: picklers put at most a thousand pairs on it before they store them, or all of a dictionary.
const maxStack = 1 << 20

func (m *machine) push(v any) error {
	if len(m.stack) == maxStack {
		return tensor.Errorf(tensor.ErrTooLarge, m.file, fmt.Sprintf("pickle, byte %d", m.pos), "asks for more memory: more than %d values on the stack", maxStack)
	}
	m.stack = append(double(m.stack), v)
	return nil
}

// double makes room for one more value, doubling a full slice: append grows large ones by less, which costs more in sum.
func double(s []any) []any {
	if len(s) < cap(s) {
		return s
	}
	return append(make([]any, 0, max(64, 2*cap(s))), s...)
}

// floor returns the height below which nothing may be popped: that of the last mark.
func (m *machine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

func (m *machine) pop() (any, error) {
	n := len(m.stack) - 1
	if n < m.floor() {
		return nil, m.corrupt("the stack is empty")
	}
	v := m.stack[n]
	m.stack = m.stack[:n]
	return v, nil
}

func (m *machine) top() (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, m.corrupt("the stack is empty")
	}
	return m.stack[len(m.stack)-1], nil
}

// toMark pops everything above the last mark, and the mark.
func (m *machine) toMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, m.corrupt("no mark on the stack")
	}
	at := m.floor()
	m.marks = m.marks[:len(m.marks)-1]
	items := append([]any(nil), m.stack[at:]...)
	m.stack = m.stack[:at]
	return items, m.spend(24 * len(items))
}

// step executes one instruction.
func (m *machine) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		v, err := m.byte()
		if err == nil && (v < 2 || v > 5) {
			err = m.unsupported("protocol %d, 2 to 5 are read", v)
		}
		return err
	case 0x95: // FRAME: its length is of no interest
		_, err := m.take(8)
		return err
	case '(':
		m.marks = append(m.marks, len(m.stack))
		return m.spend(8)
	case '0': // POP
		if len(m.marks) > 0 && len(m.stack) == m.floor() {
			_, err := m.toMark()
			return err
		}
		_, err := m.pop()
		return err
	case '1': // POP_MARK
		_, err := m.toMark()
		return err
	case '2': // DUP
		v, err := m.top()
		if err != nil {
			return err
		}
		return m.push(v)
	}
	if done, err := m.literal(op); done || err != nil {
		return err
	}
	if done, err := m.container(op); done || err != nil {
		return err
	}
	if done, err := m.memory(op); done || err != nil {
		return err
	}
	return m.object(op)
}

// literal executes the instructions that push a number, a string or a constant.
func (m *machine) literal(op byte) (bool, error) {
	var v any
	var err error
	switch op {
	case 'N':
	case 0x88:
		v = true
	case 0x89:
		v = false
	case 'K', 'M', 'J': // one, two bytes unsigned; four signed
		n := map[byte]int{'K': 1, 'M': 2, 'J': 4}[op]
		var u uint64
		u, err = m.uint(n)
		v = int64(u)
		if op == 'J' {
			v = int64(int32(u))
		}
	case 0x8a: // LONG1
		v, err = m.long()
	case 'G': // BINFLOAT, the one big-endian number
		var b []byte
		if b, err = m.take(8); err == nil {
			v = math.Float64frombits(binary.BigEndian.Uint64(b))
		}
	case 'X', 0x8c, 0x8d: // text of a length in four, one, eight bytes
		v, err = m.text(map[byte]int{'X': 4, 0x8c: 1, 0x8d: 8}[op])
	case 'U', 'T': // Python 2 strings
		var b []byte
		b, err = m.counted(map[byte]int{'U': 1, 'T': 4}[op])
		v = string(b)
	case 'C', 'B', 0x8e, 0x96: // bytes, and byte arrays
		var b []byte
		b, err = m.counted(map[byte]int{'C': 1, 'B': 4, 0x8e: 8, 0x96: 8}[op])
		v = b
	default:
		return false, nil
	}
	if err == nil {
		err = m.push(v)
	}
	return true, err
}

func (m *machine) text(n int) (string, error) {
	b, err := m.counted(n)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", m.corrupt("a string is not UTF-8")
	}
	return string(b), m.spend(len(b) + 16)
}

// long reads an integer of up to eight bytes in two's complement.
func (m *machine) long() (any, error) {
	b, err := m.counted(1)
	if err != nil || len(b) == 0 {
		return int64(0), err
	}
	if len(b) > 8 {
		return nil, m.unsupported("an integer of %d bytes", len(b))
	}
	var u uint64
	for i, c := range b {
		u |= uint64(c) << (8 * i)
	}
	shift := 64 - 8*len(b)
	return int64(u<<shift) >> shift, nil
}

// container executes the instructions that build tuples, lists, sets and dictionaries.
func (m *machine) container(op byte) (bool, error) {
	switch op {
	case ')': // EMPTY_TUPLE
		return true, m.push(tuple(nil))
	case 0x85, 0x86, 0x87: // TUPLE1 to TUPLE3
		n := int(op-0x85) + 1
		if len(m.stack)-n < m.floor() {
			return true, m.corrupt("the stack is empty")
		}
		at := len(m.stack) - n
		t := append(tuple(nil), m.stack[at:]...)
		m.stack = m.stack[:at]
		return true, m.pushSized(t, 24+16*n)
	case 't':
		items, err := m.toMark()
		if err != nil {
			return true, err
		}
		return true, m.pushSized(tuple(items), 24)
	case ']', 0x8f: // EMPTY_LIST, EMPTY_SET
		return true, m.pushSized(&list{}, 24)
	case 'l', 0x91: // LIST, FROZENSET
		items, err := m.toMark()
		if err != nil {
			return true, err
		}
		return true, m.pushSized(&list{items}, 24)
	case 'a': // APPEND
		v, err := m.pop()
		if err != nil {
			return true, err
		}
		return true, m.appendTo(v)
	case 'e', 0x90: // APPENDS, ADDITEMS
		items, err := m.toMark()
		if err != nil {
			return true, err
		}
		return true, m.appendTo(items...)
	}
	return m.dictionary(op)
}

func (m *machine) pushSized(v any, size int) error {
	if err := m.spend(size); err != nil {
		return err
	}
	return m.push(v)
}

// appendTo appends to the list on top of the stack. Records may be subclasses of list: what they hold is dropped.
func (m *machine) appendTo(items ...any) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	switch l := v.(type) {
	case *list:
		l.items = append(l.items, items...)
	case *record:
	default:
		return m.corrupt("appends to something that is no list")
	}
	return m.spend(48 * len(items))
}

func (m *machine) dictionary(op byte) (bool, error) {
	switch op {
	case '}':
		return true, m.pushSized(&dict{}, 64)
	case 'd': // DICT
		items, err := m.toMark()
		if err != nil {
			return true, err
		}
		if err := m.pushSized(&dict{}, 64); err != nil {
			return true, err
		}
		return true, m.setItems(items)
	case 's': // SETITEM
		if len(m.stack)-2 < m.floor() {
			return true, m.corrupt("the stack is empty")
		}
		at := len(m.stack) - 2
		items := append([]any(nil), m.stack[at:]...)
		m.stack = m.stack[:at]
		return true, m.setItems(items)
	case 'u': // SETITEMS
		items, err := m.toMark()
		if err != nil {
			return true, err
		}
		return true, m.setItems(items)
	}
	return false, nil
}

// setItems adds keys and values to the dictionary on top of the stack.
func (m *machine) setItems(items []any) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if len(items)%2 != 0 {
		return m.corrupt("a key without a value")
	}
	switch d := v.(type) {
	case *dict:
		for i := 0; i < len(items); i += 2 {
			d.keys = append(d.keys, items[i])
			d.values = append(d.values, items[i+1])
		}
	case *record:
	default:
		return m.corrupt("sets an item of something that is no dictionary")
	}
	return m.spend(48 * len(items))
}

// memory executes the instructions that remember a value under a number and bring it back.
func (m *machine) memory(op byte) (bool, error) {
	switch op {
	case 'q', 'r': // BINPUT, LONG_BINPUT
		i, err := m.uint(map[byte]int{'q': 1, 'r': 4}[op])
		if err != nil {
			return true, err
		}
		return true, m.put(i)
	case 0x94: // MEMOIZE
		return true, m.put(uint64(len(m.memo)))
	case 'h', 'j': // BINGET, LONG_BINGET
		i, err := m.uint(map[byte]int{'h': 1, 'j': 4}[op])
		if err != nil {
			return true, err
		}
		if i >= uint64(len(m.memo)) {
			return true, m.corrupt("value %d was never remembered", i)
		}
		return true, m.push(m.memo[i])
	}
	return false, nil
}

// put remembers the top of the stack as number i. Picklers count from 0 up; C++ ones leave gaps, but small ones.
func (m *machine) put(i uint64) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if i > uint64(len(m.data)) {
		return m.corrupt("remembers a value as number %d", i)
	}
	for uint64(len(m.memo)) <= i {
		m.memo = append(double(m.memo), nil)
		if err := m.spend(32); err != nil {
			return err
		}
	}
	m.memo[i] = v
	return nil
}
