package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/internal/malformed"
	"github.com/parelm/pare/model/tensor"
)

// raw builds a file from its header and n bytes of data.
func raw(header string, n int) []byte {
	return length(uint64(len(header)), header, n)
}

// length builds a file whose length field says anything.
func length(said uint64, header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, said)
	b = append(b, header...)
	return append(b, make([]byte, n)...)
}

// tensorJSON is one entry of a header.
func tensorJSON(name, dtype, shape, offsets string) string {
	return fmt.Sprintf(`"%s":{"dtype":"%s","shape":%s,"data_offsets":%s}`, name, dtype, shape, offsets)
}

// one builds a file of one float32 tensor "w" whose shape and offsets may lie.
func one(dtype, shape, offsets string, n int) []byte {
	return raw("{"+tensorJSON("w", dtype, shape, offsets)+"}", n)
}

func two(a, b string, n int) []byte { return raw("{"+a+","+b+"}", n) }

var (
	corrupt     = tensor.ErrCorrupt
	unsupported = tensor.ErrUnsupported
	tooLarge    = tensor.ErrTooLarge
	invalid     = tensor.ErrInvalid
)

// badFiles are files of their own; the valid twin of most is validTwin.
var badFiles = []struct {
	id    string
	data  []byte
	class error
	says  string
}{
	{"S01 empty file", nil, corrupt, "header length"},
	{"S02 one byte", []byte{1}, corrupt, "header length"},
	{"S02 seven bytes", make([]byte, 7), corrupt, "header length"},
	{"S03 length 0", length(0, "{}", 0), corrupt, "header length"},
	{"S03 length 0 and nothing", length(0, "", 0), corrupt, "header length"},
	{"S04 length 2^63", length(1<<63, "{}", 0), tooLarge, "header length"},
	{"S05 length 2^64-1", length(1<<64-1, "{}", 0), tooLarge, "header length"},
	{"S06 length 99999999 in 16 bytes", length(99_999_999, "{}      ", 0), corrupt, "header length"},
	{"S07 one over the limit", length(uint64(limits.SafetensorsHeader)+1, "{}", 0), tooLarge, "header length"},
	{"S08 cut in a string", raw(`{"w":{"dtype":"F3`, 0), corrupt, "ends inside a string"},
	{"S08 cut in a name", raw(`{"w`, 0), corrupt, "header"},
	{"S08 cut in an escape", raw(`{"w\`, 0), corrupt, "header"},
	{"S09 not UTF-8", raw("{\"\xff\":{}}", 0), corrupt, "UTF-8"},
	{"S09 half a surrogate pair", raw(`{"\ud800":{}}`, 0), corrupt, "surrogate"},
	{"S10 array", raw(`[]`, 0), corrupt, "header"},
	{"S10 number", raw(`1`, 0), corrupt, "header"},
	{"S10 null", raw(`null`, 0), corrupt, "header"},
	{"S10 tensor is null", raw(`{"w":null}`, 0), corrupt, `tensor "w"`},
	{"S11 leading space", raw(` {}`, 0), corrupt, "header"},
	{"S11 byte order mark", raw("\ufeff{}", 0), corrupt, "header"},
	{"S12 text after the object", raw(`{} x`, 0), corrupt, "after the end"},
	{"S12 NUL after the object", raw("{}\x00", 0), corrupt, "after the end"},
	{"S13 nested 10001 deep", raw(`{"w":`+strings.Repeat("[", 10001)+strings.Repeat("]", 10001)+"}", 0), corrupt, `tensor "w"`},
	{"S13 shape nested 10001 deep", one("F32", strings.Repeat("[", 10001)+strings.Repeat("]", 10001), "[0,4]", 4), corrupt, `tensor "w"`},
	{"S14 name twice", two(tensorJSON("w", "U8", "[2]", "[0,2]"), tensorJSON("w", "U8", "[2]", "[2,4]"), 4), corrupt, `tensor "w"`},
	{"S14 name twice, once escaped", two(tensorJSON("w", "U8", "[2]", "[0,2]"), tensorJSON(`\u0077`, "U8", "[2]", "[2,4]"), 4), corrupt, `tensor "w"`},
	{"S14 metadata twice", raw(`{"__metadata__":{},"__metadata__":{}}`, 0), corrupt, "__metadata__"},
	{"S15 data_offsets twice", raw(`{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,1],"data_offsets":[0,2]}}`, 2), corrupt, "data_offsets"},
	{"S15 metadata key twice", raw(`{"__metadata__":{"a":"1","a":"2"}}`, 0), corrupt, "__metadata__"},
	{"S17 unknown dtype", one("F33", "[1]", "[0,4]", 4), unsupported, "F33"},
	{"S17 dtype is a number", raw(`{"w":{"dtype":1,"shape":[1],"data_offsets":[0,4]}}`, 4), corrupt, "dtype"},
	{"S17 no dtype", raw(`{"w":{"shape":[1],"data_offsets":[0,4]}}`, 4), corrupt, "dtype"},
	{"S17 key of a later version", raw(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1]}}`, 1), unsupported, "strides"},
	{"S17 complex", one("C64", "[1]", "[0,8]", 8), unsupported, "C64"},
	{"S18 shape negative", one("F32", "[-1]", "[0,4]", 4), corrupt, "shape"},
	{"S19 shape 1e3", one("U8", "[1e3]", "[0,1000]", 1000), corrupt, "shape"},
	{"S19 shape 2.5", one("U8", "[2.5]", "[0,2]", 2), corrupt, "shape"},
	{"S19 shape a string", one("U8", `["4"]`, "[0,4]", 4), corrupt, "shape"},
	{"S19 shape 04", one("U8", `[04]`, "[0,4]", 4), corrupt, "shape"},
	{"S19 shape over 63 bits", one("U8", `[9223372036854775808]`, "[0,4]", 4), corrupt, "shape"},
	{"S20 product wraps", one("U8", "[4294967296,4294967296]", "[0,0]", 0), corrupt, `tensor "w"`},
	{"S20 product wraps to 4", one("U8", "[2147483649,8589934588]", "[0,4]", 4), corrupt, `tensor "w"`},
	{"S21 bytes wrap", one("F64", "[2305843009213693952]", "[0,0]", 0), corrupt, `tensor "w"`},
	{"S22 offsets reversed", one("U8", "[2]", "[2,0]", 2), corrupt, "reversed"},
	{"S23 offsets negative", one("U8", "[2]", "[-2,0]", 2), corrupt, "data_offsets"},
	{"S24 past the end", one("U8", "[3]", "[0,3]", 2), corrupt, `tensor "w"`},
	{"S24 far past the end", one("U8", "[9223372036854775807]", "[0,9223372036854775807]", 2), corrupt, `tensor "w"`},
	{"S25 overlap by a byte", two(tensorJSON("a", "U8", "[2]", "[0,2]"), tensorJSON("b", "U8", "[2]", "[1,3]"), 3), corrupt, `tensor "b"`},
	{"S26 same range", two(tensorJSON("a", "U8", "[2]", "[0,2]"), tensorJSON("b", "U8", "[2]", "[0,2]"), 2), corrupt, `tensor "b"`},
	{"S27 hole", two(tensorJSON("a", "U8", "[1]", "[0,1]"), tensorJSON("b", "U8", "[1]", "[2,3]"), 3), corrupt, "hole"},
	{"S28 first not at 0", one("U8", "[2]", "[1,3]", 3), corrupt, "hole"},
	{"S29 byte after the last", one("U8", "[2]", "[0,2]", 3), corrupt, "follow the last tensor"},
	{"S29 zip appended", append(one("U8", "[2]", "[0,2]", 2), "PK\x03\x04"...), corrupt, "follow the last tensor"},
	{"S29 data without tensors", raw("{}", 4), corrupt, "follow the last tensor"},
	{"S30 one byte less", one("F32", "[2]", "[0,7]", 7), corrupt, "takes 8 bytes"},
	{"S30 one byte more", one("F32", "[2]", "[0,9]", 9), corrupt, "takes 8 bytes"},
	{"S31 empty tensor in the place of another", two(tensorJSON("a", "U8", "[2]", "[0,2]"), tensorJSON("b", "U8", "[0]", "[0,0]"), 2), corrupt, `tensor "b"`},
	{"S31 empty tensor inside another", two(tensorJSON("a", "U8", "[2]", "[0,2]"), tensorJSON("b", "U8", "[0]", "[1,1]"), 2), corrupt, `tensor "b"`},
	{"S31 empty tensor past the end", two(tensorJSON("a", "U8", "[2]", "[0,2]"), tensorJSON("b", "U8", "[0]", "[3,3]"), 2), corrupt, `tensor "b"`},
	{"S32 four bits, odd", one("F4", "[3]", "[0,1]", 1), corrupt, "bits"},
	{"S32 six bits, odd", one("F6_E2M3", "[3]", "[0,2]", 2), corrupt, "bits"},
	{"S32 four bits, even", one("F4", "[4]", "[0,2]", 2), unsupported, "F4"},
	{"S33 three offsets", one("U8", "[2]", "[0,2,2]", 2), corrupt, "data_offsets"},
	{"S33 one offset", one("U8", "[2]", "[2]", 2), corrupt, "data_offsets"},
	{"S33 no offsets", one("U8", "[2]", "[]", 2), corrupt, "data_offsets"},
	{"S34 metadata holds a number", raw(`{"__metadata__":{"format":1}}`, 0), corrupt, "__metadata__"},
	{"S34 metadata is a string", raw(`{"__metadata__":"pt"}`, 0), corrupt, "header"},
	{"S36 NUL in a name", raw(`{`+tensorJSON(`a\u0000b`, "U8", "[2]", "[0,2]")+`}`, 2), invalid, "control character"},
	{"S36 newline in a name", raw(`{`+tensorJSON(`a\nb`, "U8", "[2]", "[0,2]")+`}`, 2), invalid, "control character"},
	{"S36 path in a name", raw(`{`+tensorJSON(`../b`, "U8", "[2]", "[0,2]")+`}`, 2), invalid, ".."},
	{"S36 empty name", raw(`{`+tensorJSON(``, "U8", "[2]", "[0,2]")+`}`, 2), invalid, "empty"},
	{"S36 long name", raw(`{`+tensorJSON(strings.Repeat("x", 1025), "U8", "[2]", "[0,2]")+`}`, 2), tooLarge, "1025 bytes"},
	{"S37 rank 9", one("U8", "[1,1,1,1,1,1,1,1,2]", "[0,2]", 2), tooLarge, "dimensions"},
	{"P02 zip archive", append([]byte("PK\x03\x04"), make([]byte, 60)...), unsupported, "zip"},
	{"P04 git-lfs pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"), unsupported, "git-lfs"},
	{"GGUF under a wrong name", append([]byte("GGUF"), make([]byte, 60)...), unsupported, "GGUF"},
}

// goodFiles are the valid twins: each differs from broken ones by the flaw alone.
var goodFiles = []struct {
	id    string
	data  []byte
	names string // of the tensors in order
}{
	{"no tensors", raw("{}", 0), ""},
	{"trailing spaces", raw("{}      ", 0), ""},
	{"one tensor", one("F32", "[2]", "[0,8]", 8), "w"},
	{"scalar", one("F32", "[]", "[0,4]", 4), "w"},
	{"rank 8", one("U8", "[1,1,1,1,1,1,1,2]", "[0,2]", 2), "w"},
	{"every type", raw(everyType()), "F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL F8_E4M3 F8_E5M2 F8_E8M0"},
	{"S16 names that differ in case", two(tensorJSON("w", "U8", "[1]", "[0,1]"), tensorJSON("W", "U8", "[1]", "[1,2]"), 2), "w W"},
	{"header not in the order of the data", two(tensorJSON("b", "U8", "[1]", "[1,2]"), tensorJSON("a", "U8", "[1]", "[0,1]"), 2), "a b"},
	{"S31 empty tensor before the one at its place", two(tensorJSON("a", "U8", "[0]", "[0,0]"), tensorJSON("b", "U8", "[2]", "[0,2]"), 2), "a b"},
	{"S31 empty tensor at the end", two(tensorJSON("a", "U8", "[2]", "[0,2]"), tensorJSON("b", "U8", "[3,0]", "[2,2]"), 2), "a b"},
	{"keys in another order, spaces", raw(`{ "w" : { "data_offsets" : [ 0 , 2 ] , "shape" : [ 2 ] , "dtype" : "U8" } }`, 2), "w"},
	{"escapes in a name", raw(`{`+tensorJSON(`\u00e9\ud83d\ude00\"\\\/`, "U8", "[2]", "[0,2]")+`}`, 2), `é😀"\/`},
	{"long name", raw(`{`+tensorJSON(strings.Repeat("x", 1024), "U8", "[2]", "[0,2]")+`}`, 2), strings.Repeat("x", 1024)},
}

// everyType returns a header with a tensor of each readable type and the size of the data.
func everyType() (string, int) {
	var parts []string
	at := 0
	for _, name := range strings.Fields("F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL F8_E4M3 F8_E5M2 F8_E8M0") {
		n := 3 * int(read[name].bits) / 8
		parts = append(parts, tensorJSON(name, name, "[3]", fmt.Sprintf("[%d,%d]", at, at+n)))
		at += n
	}
	return "{" + strings.Join(parts, ",") + "}", at
}

func put(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMalformed(t *testing.T) {
	for _, c := range badFiles {
		t.Run(c.id, func(t *testing.T) {
			path := put(t, t.TempDir(), "bad.safetensors", c.data)
			malformed.Check(t, malformed.Want{Class: c.class, Texts: []string{"bad.safetensors", c.says}, Bytes: int64(len(c.data))},
				func() (io.Closer, error) { return Open(path) })
		})
	}
	t.Run("S35 a million empty tensors", func(t *testing.T) {
		b := make([]byte, 0, 64<<20)
		b = append(b, '{')
		for i := range 1_000_000 {
			if i > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, i)
		}
		b = append(b, '}')
		path := put(t, t.TempDir(), "bad.safetensors", raw(string(b), 0))
		malformed.Check(t, malformed.Want{Class: tooLarge, Texts: []string{"bad.safetensors", "262144 tensors"}, Bytes: int64(len(b))},
			func() (io.Closer, error) { return Open(path) })
	})
}

func TestValidTwins(t *testing.T) {
	for _, c := range goodFiles {
		t.Run(c.id, func(t *testing.T) {
			f, err := Open(put(t, t.TempDir(), "good.safetensors", c.data))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var names []string
			for _, x := range f.Tensors() {
				names = append(names, x.Name)
				if _, err := x.Float32(); err != nil {
					t.Error(err)
				}
				if y, ok := f.Tensor(x.Name); !ok || y != x {
					t.Errorf("Tensor(%q) is %v", x.Name, y)
				}
			}
			if got := strings.Join(names, " "); got != c.names {
				t.Errorf("tensors %q, want %q", got, c.names)
			}
		})
	}
}

// TestManyTensors opens the largest header that the limit allows within the bounds on time and memory.
func TestManyTensors(t *testing.T) {
	b := []byte{'{'}
	for i := range limits.SafetensorsTensors {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `"%d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, i, i, i+1)
	}
	data := raw(string(append(b, '}')), int(limits.SafetensorsTensors))
	path := put(t, t.TempDir(), "many.safetensors", data)
	c, err := malformed.Measure(t, int64(len(data)), func() (io.Closer, error) { return Open(path) })
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// directory is a sharded checkpoint that cases break.
type directory map[string][]byte

func shards() directory {
	return directory{
		IndexName:        []byte(`{"metadata":{"total_size":4,"nested":{"a":[1,2,{"b":null}]}},"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}}`),
		"s1.safetensors": raw("{"+tensorJSON("a", "U8", "[2]", "[0,2]")+"}", 2),
		"s2.safetensors": raw("{"+tensorJSON("b", "U8", "[2]", "[0,2]")+"}", 2),
	}
}

func (d directory) write(t testing.TB) (path string, size int64) {
	path = t.TempDir()
	for name, data := range d {
		put(t, path, name, data)
		size += int64(len(data))
	}
	return path, size
}

func index(pairs string) []byte { return []byte(`{"weight_map":{` + pairs + `}}`) }

func TestMalformedDirectories(t *testing.T) {
	many := make([]string, limits.Shards+1)
	for i := range many {
		many[i] = fmt.Sprintf(`"t%d":"s%d.safetensors"`, i, i)
	}
	for _, c := range []struct {
		id    string
		name  string // of the file to put in place of the valid one; no data removes it
		data  []byte
		class error
		says  []string
	}{
		{"S38 shard missing", "s2.safetensors", nil, corrupt, []string{IndexName, "s2.safetensors"}},
		{"S39 traversal", IndexName, index(`"a":"../../etc/passwd"`), invalid, []string{IndexName, `tensor "a"`, "../../etc/passwd"}},
		{"S39 absolute", IndexName, index(`"a":"/etc/passwd"`), invalid, []string{IndexName, `tensor "a"`, "/etc/passwd"}},
		{"S39 directory", IndexName, index(`"a":"sub/s1.safetensors"`), invalid, []string{IndexName, `tensor "a"`}},
		{"S39 backslash", IndexName, index(`"a":"..\\s1.safetensors"`), invalid, []string{IndexName, `tensor "a"`}},
		{"S39 drive", IndexName, index(`"a":"C:s1.safetensors"`), invalid, []string{IndexName, `tensor "a"`}},
		{"S39 the directory itself", IndexName, index(`"a":"."`), invalid, []string{IndexName, `tensor "a"`}},
		{"S39 no name", IndexName, index(`"a":""`), invalid, []string{IndexName, `tensor "a"`}},
		{"S40 index names a tensor that no shard has", IndexName, index(`"a":"s1.safetensors","b":"s2.safetensors","c":"s2.safetensors"`), corrupt, []string{"s2.safetensors", `tensor "c"`}},
		{"S40 shard has a tensor that the index lacks", "s2.safetensors", raw("{"+tensorJSON("b", "U8", "[1]", "[0,1]")+","+tensorJSON("c", "U8", "[1]", "[1,2]")+"}", 2), corrupt, []string{"s2.safetensors", `tensor "c"`}},
		{"S40 index points to the other shard", IndexName, index(`"a":"s2.safetensors","b":"s1.safetensors"`), corrupt, []string{`tensor "b"`}},
		{"S41 tensor in two shards", "s2.safetensors", raw("{"+tensorJSON("a", "U8", "[1]", "[0,1]")+","+tensorJSON("b", "U8", "[1]", "[1,2]")+"}", 2), corrupt, []string{"s2.safetensors", `tensor "a"`}},
		{"S41 tensor twice in the index", IndexName, index(`"a":"s1.safetensors","a":"s2.safetensors","b":"s2.safetensors"`), corrupt, []string{IndexName, `tensor "a"`}},
		{"index is no object", IndexName, []byte(`[]`), corrupt, []string{IndexName}},
		{"index without weight_map", IndexName, []byte(`{"metadata":{}}`), corrupt, []string{IndexName, "weight_map"}},
		{"index with two weight_maps", IndexName, []byte(`{"weight_map":{"a":"s1.safetensors"},"weight_map":{"b":"s2.safetensors"}}`), corrupt, []string{IndexName, "weight_map"}},
		{"index with a number for a file", IndexName, index(`"a":1`), corrupt, []string{IndexName}},
		{"index nested 10001 deep", IndexName, []byte(`{"metadata":` + strings.Repeat(`{"a":`, 10001) + `1` + strings.Repeat(`}`, 10002)), corrupt, []string{IndexName, "nested"}},
		{"index with broken metadata", IndexName, []byte(`{"metadata":{"total_size":01},"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}}`), corrupt, []string{IndexName}},
		{"index over the limit", IndexName, make([]byte, limits.ShardIndex+1), tooLarge, []string{IndexName}},
		{"too many shards", IndexName, index(strings.Join(many, ",")), tooLarge, []string{IndexName, "1024 files"}},
		{"broken shard", "s2.safetensors", raw(`{`, 0), corrupt, []string{"s2.safetensors"}},
	} {
		t.Run(c.id, func(t *testing.T) {
			d := shards()
			d[c.name] = c.data
			if c.data == nil {
				delete(d, c.name)
			}
			path, size := d.write(t)
			malformed.Check(t, malformed.Want{Class: c.class, Texts: c.says, Bytes: size}, func() (io.Closer, error) { return OpenDir(path) })
		})
	}
	t.Run("valid twin", func(t *testing.T) {
		path, _ := shards().write(t)
		f, err := OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if len(f.Tensors()) != 2 || len(f.Files()) != 2 {
			t.Errorf("%d tensors in %v", len(f.Tensors()), f.Files())
		}
	})
}

func TestShortenedWhileOpen(t *testing.T) {
	t.Run("S42 file shortened", func(t *testing.T) {
		path := put(t, t.TempDir(), "short.safetensors", one("F32", "[2,2]", "[0,16]", 16))
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := os.Truncate(path, 60); err != nil {
			t.Fatal(err)
		}
		malformed.Check(t, malformed.Want{Class: corrupt, Texts: []string{"short.safetensors", `tensor "w"`, "shorter"}}, func() (io.Closer, error) {
			_, err := f.Tensors()[0].Float32()
			return io.NopCloser(nil), err
		})
	})
}

// TestManyShards opens more shards than descriptors are kept and reads from all.
func TestManyShards(t *testing.T) {
	d := directory{}
	var pairs []string
	const n = maxOpen + 20
	for i := range n {
		name := fmt.Sprintf("s%03d.safetensors", i)
		b := raw("{"+tensorJSON(fmt.Sprintf("t%d", i), "U8", "[1]", "[0,1]")+"}", 0)
		d[name] = append(b, byte(i))
		pairs = append(pairs, fmt.Sprintf(`"t%d":"%s"`, i, name))
	}
	d[IndexName] = index(strings.Join(pairs, ","))
	path, _ := d.write(t)
	f, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range n {
		x, ok := f.Tensor(fmt.Sprintf("t%d", i))
		if !ok {
			t.Fatalf("no tensor %d", i)
		}
		b, err := x.ReadRaw(0, 1)
		if err != nil || b[0] != byte(i) {
			t.Errorf("tensor %d: %v, %v", i, b, err)
		}
	}
	put(t, path, fmt.Sprintf("s%03d.safetensors", n-1), nil)
	x, _ := f.Tensor(fmt.Sprintf("t%d", n-1))
	if _, err := x.ReadRaw(0, 1); err == nil {
		t.Error("a shard replaced by an empty file still reads")
	}
}
