package hub

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzListing reads any bytes as the list of files that a hub sends: names that are kept stay within their directory, and what
// is chosen is among them.
func FuzzListing(f *testing.F) {
	f.Add([]byte(`{"sha": "0123456789012345678901234567890123456789", "siblings": [{"rfilename": "config.json", "size": 3, "blobId": "ab"},
		{"rfilename": "model.safetensors", "lfs": {"sha256": "00", "size": -1}}, {"rfilename": "../x"}, {"rfilename": "a/b.json"}]}`))
	f.Add([]byte(`{"sha": "", "siblings": null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var l listing
		if json.Unmarshal(data, &l) != nil || l.check() != nil {
			return
		}
		for _, n := range l.names() {
			if !filepath.IsLocal(filepath.FromSlash(n)) || strings.HasPrefix(n, "/") || l.find(n) == nil {
				t.Fatalf("%q is kept", n)
			}
		}
	})
}
