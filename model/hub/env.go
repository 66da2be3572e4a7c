package hub

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Client fetches models. The zero value of any field but Cache takes a default.
type Client struct {
	Cache    string       // directory of the cache
	Endpoint string       // https://huggingface.co
	Token    string       // sent to Endpoint and nowhere else
	Offline  bool         // use the cache alone
	HTTP     *http.Client // its CheckRedirect is ignored: redirects are followed with care
	// Connections is how many requests may be under way; 0 means 8.
	Connections int
	// Wait replaces the pauses between attempts, for tests.
	Wait func(d time.Duration)
}

// defaultEndpoint is where models live unless HF_ENDPOINT says otherwise.
const defaultEndpoint = "https://huggingface.co"

// FromEnv returns a client as the environment variables of the huggingface_hub library describe it.
func FromEnv() *Client {
	home := os.Getenv("HF_HOME")
	if home == "" {
		base := os.Getenv("XDG_CACHE_HOME")
		if base == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				user = os.TempDir()
			}
			base = filepath.Join(user, ".cache")
		}
		home = filepath.Join(base, "huggingface")
	}
	c := &Client{Cache: first("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"), Endpoint: os.Getenv("HF_ENDPOINT"),
		Token: first("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"), Offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE")}
	if c.Cache == "" {
		c.Cache = filepath.Join(home, "hub")
	}
	if c.Token == "" {
		file := os.Getenv("HF_TOKEN_PATH")
		if file == "" {
			file = filepath.Join(home, "token")
		}
		if data, err := os.ReadFile(file); err == nil && len(data) < 4096 { // most users have none
			c.Token = strings.TrimSpace(string(data))
		}
	}
	return c
}

func first(names ...string) string {
	for _, n := range names {
		if v := strings.TrimSpace(os.Getenv(n)); v != "" {
			return v
		}
	}
	return ""
}

// on reports whether a variable says yes, in the words that huggingface_hub takes.
func on(name string) bool {
	switch strings.ToUpper(os.Getenv(name)) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}
