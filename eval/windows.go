package eval

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Protocol says how a stream of token ids is cut into sequences. Two perplexities are comparable only under one
// protocol, one vocabulary and one stream.
type Protocol struct {
	Window int   // ids a sequence, BOS not counted
	Stride int   // ids from one window to the next; smaller than Window gives each scored id more context
	BOS    int32 // put in front of each window; -1 for none
}

// String describes the protocol in words.
func (p Protocol) String() string {
	s := fmt.Sprintf("windows of %d ids", p.Window)
	if p.Stride != p.Window {
		s += fmt.Sprintf(" every %d, the last %d scored", p.Stride, p.Stride)
	}
	if p.BOS >= 0 {
		return s + fmt.Sprintf(", id %d in front of each; every id scored", p.BOS)
	}
	return s + ", no BOS; every id scored but the first of a window"
}

// NewProtocol returns the protocol for a model: windows that fill its context (at most 2048), BOS where the tokenizer
// puts one.
func NewProtocol(context int, bos int32, prepends bool, window, stride int) (Protocol, error) {
	p := Protocol{Window: window, Stride: stride, BOS: -1}
	room := context
	if prepends && bos >= 0 {
		p.BOS = bos
		room--
	}
	if p.Window == 0 {
		p.Window = min(room, 2048)
	}
	if p.Stride == 0 {
		p.Stride = p.Window
	}
	if p.Window < 1 || p.Window > room {
		return p, fmt.Errorf("window of %d ids: the model has room for %d", p.Window, room)
	}
	if p.Stride < 1 || p.Stride > p.Window {
		return p, fmt.Errorf("stride of %d ids: must be 1 to the window of %d", p.Stride, p.Window)
	}
	return p, nil
}

// window is one sequence: ids as the model sees them, of which those from place score on are predicted and counted.
type window struct {
	ids   []int32
	score int
}

// cut makes the windows of a stream.
func (p Protocol) cut(ids []int32) []window {
	var out []window
	for start, from := 0, 0; from < len(ids); start += p.Stride {
		hi := min(start+p.Window, len(ids))
		w := window{ids: ids[start:hi], score: from - start}
		if p.BOS >= 0 {
			w.ids = append([]int32{p.BOS}, w.ids...)
			w.score++
		}
		if w.score = max(w.score, 1); w.score < len(w.ids) {
			out = append(out, w)
		}
		from = hi
	}
	return out
}

// StreamHash identifies a stream of ids.
func StreamHash(ids []int32) string {
	h := sha256.New()
	var b [4]byte
	for _, id := range ids {
		binary.LittleEndian.PutUint32(b[:], uint32(id))
		h.Write(b[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}
