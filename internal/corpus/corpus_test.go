package corpus

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model/tokenizer"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFiles(t *testing.T) {
	d := t.TempDir()
	a, b, c := write(t, d, "a.txt", "x"), write(t, d, "sub/b.txt", "x"), write(t, d, "sub/deep/c.go", "x")
	for _, tc := range []struct {
		pattern string
		want    []string
	}{
		{a, []string{a}}, {filepath.Join(d, "*.txt"), []string{a}}, {filepath.Join(d, "**/*.txt"), []string{a, b}},
		{filepath.Join(d, "sub"), []string{b, c}}, {filepath.Join(d, "**/*"), []string{a, b, c}},
	} {
		got, err := Files([]string{tc.pattern, tc.pattern})
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, %v; want %v", tc.pattern, got, err, tc.want)
		}
	}
	for _, bad := range []string{filepath.Join(d, "none.txt"), filepath.Join(d, "*.md"), filepath.Join(d, "**/*.md")} {
		if _, err := Files([]string{a, bad}); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestDocuments(t *testing.T) {
	d := t.TempDir()
	for name, tc := range map[string]struct {
		text string
		want []string
		err  string
	}{
		"one.txt":      {"hello\nworld\n", []string{"hello\nworld\n"}, ""},
		"stories.txt":  {"one\n<|endoftext|>\ntwo\n<|endoftext|>\nthree", []string{"one", "two", "three"}, ""},
		"last.txt":     {"one\n<|endoftext|>\ntwo\n<|endoftext|>", []string{"one", "two"}, ""},
		"latin.txt":    {"caf\xe9", nil, "not UTF-8"},
		"good.jsonl":   {"\ufeff{\"text\":\"a\"}\r\n\r\n{\"prompt\":\"p \",\"completion\":\"c\"}", []string{"a", "p c"}, ""},
		"broken.jsonl": {"{\"text\":\"a\"}\n{\"text\":", []string{"a"}, "line 2"},
		"chat.jsonl":   {`{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}]}`, []string{"hi\nho"}, ""},
		"share.jsonl":  {`{"conversations":[{"from":"human","value":"hi"},{"from":"gpt","value":"ho"}]}`, []string{"hi\nho"}, ""},
		"null.jsonl":   {`{"messages":[{"role":"user","content":null}]}`, nil, `message 1 has no "content"`},
		"role.jsonl":   {`{"messages":[{"content":"x"}]}`, nil, `message 1 has no "role"`},
		"tools.jsonl":  {`{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"","tool_calls":[{}]}]}`, nil, "message 2 calls tools"},
		"other.jsonl":  {"{\"body\":\"a\"}", nil, `neither "text"`},
	} {
		path := write(t, d, name, tc.text)
		var got []string
		var failed error
		for doc, err := range Documents(path) {
			if err != nil {
				failed = err
				break
			}
			got = append(got, doc)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		if (failed != nil) != (tc.err != "") || failed != nil && (!strings.Contains(failed.Error(), tc.err) || !strings.Contains(failed.Error(), name)) {
			t.Errorf("%s: error %v, want one with %q", name, failed, tc.err)
		}
	}
}

// bytes256 is a vocabulary of single characters with BOS and EOS.
func characters(t *testing.T) *tokenizer.Tokenizer {
	t.Helper()
	vocab := `"<s>":0,"</s>":1`
	for i := range 26 {
		vocab += `,"` + string(rune('a'+i)) + `":` + string([]byte{byte('0' + (i+2)/10), byte('0' + (i+2)%10)})
	}
	vocab = strings.ReplaceAll(vocab, ":0", ":")
	vocab = strings.Replace(vocab, `"<s>":`, `"<s>":0`, 1)
	tok, err := tokenizer.FromJSON("tokenizer.json", []byte(`{"model":{"type":"BPE","vocab":{`+vocab+`},"merges":[]},
		"added_tokens":[{"id":0,"content":"<s>","special":true},{"id":1,"content":"</s>","special":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestSamples(t *testing.T) {
	tok := characters(t)
	ids := make([]int32, 1000)
	for i := range ids {
		ids[i] = int32(i)
	}
	got := Samples(ids, tok, 4, 50, 7)
	if len(got) != 4 || len(got[0]) != 50 {
		t.Fatalf("%d samples of %d", len(got), len(got[0]))
	}
	for i := 1; i < 4; i++ {
		if got[i][0]-got[i-1][0] != 250 {
			t.Errorf("samples begin at %d and %d", got[i-1][0], got[i][0])
		}
	}
	if again := Samples(ids, tok, 4, 50, 7); !slices.Equal(again[2], got[2]) {
		t.Error("the same seed gives other samples")
	}
	if few := Samples(ids[:60], tok, 4, 50, 7); len(few) != 1 || len(few[0]) != 50 {
		t.Errorf("a short stream gives %v", few)
	}
	if tiny := Samples(ids[:3], tok, 4, 50, 7); len(tiny) != 1 || len(tiny[0]) != 3 {
		t.Errorf("a stream of three gives %v", tiny)
	}
}

func TestStream(t *testing.T) {
	d := t.TempDir()
	path := write(t, d, "s.txt", "ab\n<|endoftext|>\nc")
	ids, err := Stream(context.Background(), characters(t), []string{path}, Plain)
	if err != nil || !slices.Equal(ids, []int32{2, 3, 4}) {
		t.Errorf("%v, %v", ids, err)
	}
	if _, err := Stream(context.Background(), characters(t), []string{write(t, d, "e.txt", "")}, Plain); err == nil {
		t.Error("an empty text passes")
	}
}

// TestMarked: where the tokenizer begins a text with BOS, so does every document; else each ends with EOS.
func TestMarked(t *testing.T) {
	shared := tiny.Shared(t, "assets", "models", "stories260K")
	tok, err := tokenizer.Open(shared)
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, t.TempDir(), "s.txt", "one\n<|endoftext|>\ntwo")
	count := func(j Joint, id int32) (n int) {
		ids, err := Stream(context.Background(), tok, []string{path}, j)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range ids {
			if x == id {
				n++
			}
		}
		return n
	}
	if b, e := count(Marked, tok.BOS()), count(Marked, tok.EOS()); b != 2 || e != 0 {
		t.Errorf("%d BOS and %d EOS between two documents", b, e)
	}
	if b, e := count(EndOfText, tok.BOS()), count(EndOfText, tok.EOS()); b != 0 || e != 2 {
		t.Errorf("end of text: %d BOS and %d EOS", b, e)
	}
}

// TestConversations expects the tokens that the model's own template makes of messages, once each mark, and what a user says
// never to become one.
func TestConversations(t *testing.T) {
	files, err := models.Files("llama", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	var conf map[string]any
	if err := json.Unmarshal(files["tokenizer_config.json"], &conf); err != nil {
		t.Fatal(err)
	}
	conf["chat_template"] = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
	if files["tokenizer_config.json"], err = json.Marshal(conf); err != nil {
		t.Fatal(err)
	}
	d := t.TempDir()
	for name, data := range files {
		write(t, d, name, string(data))
	}
	tok, err := tokenizer.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, t.TempDir(), "c.jsonl", `{"messages":[{"role":"user","content":"a </s> b"},{"role":"assistant","content":"c"}]}`)
	for _, joint := range []Joint{Plain, EndOfText, Marked} {
		ids, err := Stream(context.Background(), tok, []string{path}, joint)
		if err != nil {
			t.Fatal(err)
		}
		bos, eos := 0, 0
		for _, id := range ids {
			if id == tok.BOS() {
				bos++
			}
			if id == tok.EOS() {
				eos++
			}
		}
		if text := tok.Decode(ids, true); bos != 1 || eos != 2 || !strings.Contains(text, "user: a </s> b") || !strings.Contains(text, "assistant: c") {
			t.Errorf("joint %d: %d BOS, %d EOS around %q", joint, bos, eos, text)
		}
	}
}
