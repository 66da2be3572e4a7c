package serve

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/parelm/pare/runtime"
	"github.com/parelm/pare/runtime/grammar"
)

// common are the fields that both kinds of completions share.
type common struct {
	Model         string `json:"model"`
	Stream        bool   `json:"stream"`
	StreamOptions *struct {
		IncludeUsage       bool `json:"include_usage"`
		IncludeObfuscation bool `json:"include_obfuscation"` // nothing to obscure: ignored
	} `json:"stream_options"`
	N              *int               `json:"n"`
	MaxTokens      *int               `json:"max_tokens"`
	Temperature    *float64           `json:"temperature"`
	TopP           *float64           `json:"top_p"`
	TopK           int                `json:"top_k"`
	MinP           float64            `json:"min_p"`
	TypicalP       float64            `json:"typical_p"`
	Repetition     float64            `json:"repetition_penalty"`
	Presence       float64            `json:"presence_penalty"`
	Frequency      float64            `json:"frequency_penalty"`
	LastN          int                `json:"repeat_last_n"`
	LogitBias      map[string]float64 `json:"logit_bias"`
	Seed           *int64             `json:"seed"`
	Stop           stops              `json:"stop"`
	Grammar        string             `json:"grammar"`
	ResponseFormat *responseFormat    `json:"response_format"`
	IgnoreEOS      bool               `json:"ignore_eos"`
	SpeculativeMax *int               `json:"speculative.n_max"` // tokens to draft at a time; 0 drafts none

	// What clients send that changes nothing here.
	User             json.RawMessage `json:"user"`
	Store            json.RawMessage `json:"store"`
	Metadata         json.RawMessage `json:"metadata"`
	ServiceTier      json.RawMessage `json:"service_tier"`
	SafetyIdentifier json.RawMessage `json:"safety_identifier"`
	PromptCacheKey   json.RawMessage `json:"prompt_cache_key"`
}

type responseFormat struct {
	Type       string `json:"type"`
	JSONSchema *struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Strict      *bool           `json:"strict"`
		Schema      json.RawMessage `json:"schema"`
	} `json:"json_schema"`
}

// stops is one string or a list.
type stops []string

func (s *stops) UnmarshalJSON(data []byte) error {
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		var one string
		if err := json.Unmarshal(data, &one); err != nil {
			return bad("stop", "stop must be a string or a list of strings")
		}
		list = []string{one}
	}
	if len(list) > maxStops {
		return bad("stop", "stop has %d strings, the limit is %d", len(list), maxStops)
	}
	for _, x := range list {
		if len(x) > maxStopBytes || x == "" {
			return bad("stop", "a stop string has %d bytes: want 1 to %d", len(x), maxStopBytes)
		}
	}
	*s = list
	return nil
}

// choices returns n.
func (c *common) choices() (int, *apiError) {
	if c.N == nil {
		return 1, nil
	}
	if *c.N < 1 || *c.N > maxChoices {
		return 0, bad("n", "n is %d: want 1 to %d", *c.N, maxChoices)
	}
	return *c.N, nil
}

// drafts returns how many tokens may be drafted at a time.
func (c *common) drafts(most int) int {
	if c.SpeculativeMax == nil {
		return most
	}
	return max(0, min(*c.SpeculativeMax, most))
}

// sampling returns how to draw. Without a temperature it is 1, as clients of this interface expect.
func (c *common) sampling(vocab int) (runtime.Sampling, *apiError) {
	s := runtime.Sampling{Temperature: 1, TopK: c.TopK, MinP: c.MinP, Typical: c.TypicalP, Repetition: c.Repetition, Presence: c.Presence,
		Frequency: c.Frequency, LastN: c.LastN}
	if c.Temperature != nil {
		s.Temperature = *c.Temperature
	}
	if c.TopP != nil {
		if s.TopP = *c.TopP; s.TopP == 0 {
			return s, bad("top_p", "top_p is 0: want above 0, up to 1")
		}
	}
	switch {
	case !(s.Temperature >= 0 && s.Temperature <= 2):
		return s, bad("temperature", "temperature is %v: want 0 to 2", s.Temperature)
	case !(s.Presence >= -2 && s.Presence <= 2):
		return s, bad("presence_penalty", "presence_penalty is %v: want -2 to 2", s.Presence)
	case !(s.Frequency >= -2 && s.Frequency <= 2):
		return s, bad("frequency_penalty", "frequency_penalty is %v: want -2 to 2", s.Frequency)
	case len(c.LogitBias) > maxBias:
		return s, bad("logit_bias", "logit_bias has %d tokens, the limit is %d", len(c.LogitBias), maxBias)
	}
	for key, b := range c.LogitBias {
		id, err := strconv.Atoi(key)
		if err != nil || id < 0 || id >= vocab || !(b >= -100 && b <= 100) {
			return s, bad("logit_bias", "logit_bias of %q is %v: want a token id below %d and -100 to 100", clip(key), b, vocab)
		}
		if s.Bias == nil {
			s.Bias = map[int32]float64{}
		}
		s.Bias[int32(id)] = b
	}
	if err := s.Check(); err != nil {
		return s, bad("", "%v", err)
	}
	return s, nil
}

// grammarOf returns what the text is held to, nil for nothing.
func (c *common) grammarOf() (*grammar.Grammar, *apiError) {
	f := c.ResponseFormat
	if c.Grammar != "" {
		if f != nil && f.Type != "text" {
			return nil, bad("grammar", "grammar and response_format exclude each other")
		}
		g, err := grammar.Parse(c.Grammar)
		if err != nil {
			return nil, bad("grammar", "grammar: %v", err)
		}
		return g, nil
	}
	if f == nil {
		return nil, nil
	}
	switch f.Type {
	case "text":
		return nil, nil
	case "json_object":
		return grammar.JSON(), nil
	case "json_schema":
		if f.JSONSchema == nil || len(bytes.TrimSpace(f.JSONSchema.Schema)) == 0 {
			return nil, bad("response_format.json_schema", "response_format wants a json_schema with a schema")
		}
		g, err := grammar.JSONSchema(f.JSONSchema.Schema)
		if err != nil {
			return nil, bad("response_format.json_schema.schema", "%v", err)
		}
		return g, nil
	}
	return nil, bad("response_format.type", "response_format is %q: want text, json_object or json_schema", clip(f.Type))
}
