package gguf

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestPeerTypes reads rows that llama.cpp quantized into every type its quantizer writes, and compares them bit for bit with
// what llama.cpp made of them when it turned the same file back into float32: the first eight bytes of SHA-256 of that.
func TestPeerTypes(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "peer-types.json"))
	if err != nil {
		t.Fatal(err)
	}
	var sums map[string]string
	if err := json.Unmarshal(data, &sums); err != nil {
		t.Fatal(err)
	}
	f, err := Open(filepath.Join("testdata", "peer-types.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.Tensors()) < 25 || len(sums) != len(f.Tensors()) {
		t.Fatalf("%d tensors, %d sums", len(f.Tensors()), len(sums))
	}
	for _, x := range f.Tensors() {
		v, err := x.Float32()
		if err != nil {
			t.Fatal(err)
		}
		var raw []byte
		for _, y := range v {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(y))
		}
		sum := sha256.Sum256(raw)
		if x.Codec.Name() != x.Name || hex.EncodeToString(sum[:8]) != sums[x.Name] {
			t.Errorf("%s (%s): values differ", x.Name, x.Codec.Name())
		}
	}
}
