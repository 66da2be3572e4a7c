package chat

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parelm/pare/internal/tiny"
)

// now is what the oracle's strftime_now tells.
var now = time.Date(2025, 3, 9, 14, 5, 7, 0, time.UTC)

// sample is a conversation of testdata/conversations.json.
type sample struct {
	Name     string
	Messages []struct {
		Role, Content, Reasoning, Name string
		ToolCallID                     string                                 `json:"tool_call_id"`
		ToolCalls                      []struct{ ID, Name, Arguments string } `json:"tool_calls"`
	}
	Tools     []json.RawMessage
	Generate  bool
	Variables map[string]json.RawMessage
}

func samples(t *testing.T) map[string]*Conversation {
	t.Helper()
	data, err := os.ReadFile("testdata/conversations.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []sample
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]*Conversation{}
	for _, s := range list {
		c := &Conversation{Tools: s.Tools, Generate: s.Generate, BOS: "<s>", EOS: "</s>", Variables: s.Variables, Now: now}
		for _, m := range s.Messages {
			n := Message{Role: m.Role, Content: m.Content, Reasoning: m.Reasoning, Name: m.Name, ToolCallID: m.ToolCallID}
			for _, k := range m.ToolCalls {
				n.ToolCalls = append(n.ToolCalls, ToolCall{k.ID, k.Name, k.Arguments})
			}
			c.Messages = append(c.Messages, n)
		}
		out[s.Name] = c
	}
	return out
}

// TestOracle renders every published template with every conversation and compares with digests of what Jinja2 made of them
// (testdata/oracle.py). Where Jinja2 fails, ours may do better, but it may not break.
func TestOracle(t *testing.T) {
	dir := tiny.Shared(t, "assets", "chat_templates")
	data, err := os.ReadFile("testdata/oracle.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]map[string]string
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	equal := 0
	for file, digests := range want {
		source, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		tmpl, err := Parse(file, string(source))
		if err != nil {
			t.Error(err)
			continue
		}
		for name, c := range samples(t) {
			p, err := tmpl.Render(c)
			if err != nil {
				t.Errorf("%s, %s: %v (Jinja2: %s)", file, name, err, digests[name])
				continue
			}
			sum := sha256.Sum256([]byte(p.Text))
			switch {
			case strings.HasPrefix(digests[name], "error"):
			case hex.EncodeToString(sum[:]) != digests[name]:
				t.Errorf("%s, %s: other text than Jinja2's", file, name)
				if d := os.Getenv("CHAT_DUMP"); d != "" {
					t.Log(p.Text)
				}
			default:
				equal++
			}
			checkSpans(t, file+" "+name, p)
		}
	}
	t.Logf("%d renderings equal to Jinja2's", equal)
}

func checkSpans(t *testing.T, where string, p *Prompt) {
	t.Helper()
	at := -1
	for _, u := range p.User {
		if u.Start <= at || u.End <= u.Start || u.End > len(p.Text) {
			t.Fatalf("%s: spans %v of %d bytes are out of order", where, p.User, len(p.Text))
		}
		at = u.End
	}
}
