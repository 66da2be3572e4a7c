package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/model/tokenizer"
	"github.com/parelm/pare/runtime"
	"github.com/parelm/pare/runtime/grammar"
)

// samplingFlags say how tokens are drawn.
func samplingFlags() []cli.Flag {
	return []cli.Flag{
		&cli.Float64Flag{Name: "temp", Aliases: []string{"temperature"}, Usage: "temperature `T`; 0 takes the likeliest token"},
		&cli.IntFlag{Name: "top-k", Usage: "draw from the `K` likeliest tokens", DefaultText: "all"},
		&cli.Float64Flag{Name: "top-p", Usage: "draw from the likeliest tokens that together have probability `P`", DefaultText: "1"},
		&cli.Float64Flag{Name: "min-p", Usage: "draw from tokens at least `P` times as likely as the likeliest"},
		&cli.Float64Flag{Name: "typical", Usage: "draw from tokens of typical surprise that together have probability `P`", DefaultText: "1"},
		&cli.Float64Flag{Name: "repeat-penalty", Usage: "divide the scores of tokens that were there by `R`", DefaultText: "1"},
		&cli.Float64Flag{Name: "presence-penalty", Usage: "subtract `X` from the scores of tokens of the answer so far"},
		&cli.Float64Flag{Name: "frequency-penalty", Usage: "subtract `X` for each time a token stands in the answer so far"},
		&cli.IntFlag{Name: "repeat-last-n", Usage: "penalties look at the last `N` tokens", DefaultText: "all"},
		&cli.StringSliceFlag{Name: "logit-bias", Usage: "add to the score of a token, `ID=X`"},
		&cli.Uint64Flag{Name: "seed", Usage: "`N` chooses among the texts that could be drawn"},
		&cli.StringSliceFlag{Name: "stop", Usage: "end the text before `STRING`"},
	}
}

// constraintFlags hold the text to a form.
func constraintFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "grammar", Usage: "hold the text to the GBNF grammar in `FILE`"},
		&cli.StringFlag{Name: "json-schema", Usage: "hold the text to a JSON schema: `FILE` or the schema itself"},
	}
}

func sampling(c *cli.Context) (runtime.Sampling, error) {
	s := runtime.Sampling{Temperature: c.Float64("temp"), TopK: c.Int("top-k"), TopP: c.Float64("top-p"), MinP: c.Float64("min-p"), Typical: c.Float64("typical"),
		Repetition: c.Float64("repeat-penalty"), Presence: c.Float64("presence-penalty"), Frequency: c.Float64("frequency-penalty"),
		LastN: c.Int("repeat-last-n"), Seed: c.Uint64("seed")}
	for _, kv := range c.StringSlice("logit-bias") {
		key, value, _ := strings.Cut(kv, "=")
		id, err := strconv.ParseInt(key, 10, 32)
		x, err2 := strconv.ParseFloat(value, 64)
		if err != nil || err2 != nil || id < 0 {
			return s, usage("--logit-bias %s: want ID=X, such as 42=-5", kv)
		}
		if s.Bias == nil {
			s.Bias = map[int32]float64{}
		}
		s.Bias[int32(id)] = x
	}
	if err := s.Check(); err != nil {
		return s, usage("%v", err)
	}
	return s, nil
}

// constraint reads --grammar or --json-schema. nil means that there is none.
func constraint(c *cli.Context) (*grammar.Grammar, error) {
	file, schema := c.String("grammar"), c.String("json-schema")
	switch {
	case file != "" && schema != "":
		return nil, usage("--grammar and --json-schema exclude each other")
	case file != "":
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		g, err := grammar.Parse(string(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return g, nil
	case schema == "":
		return nil, nil
	}
	raw := []byte(schema)
	if !strings.HasPrefix(strings.TrimSpace(schema), "{") {
		data, err := os.ReadFile(schema)
		if err != nil {
			return nil, err
		}
		raw = data
	}
	g, err := grammar.JSONSchema(json.RawMessage(raw))
	if err != nil {
		return nil, fmt.Errorf("--json-schema: %w", err)
	}
	return g, nil
}

// matcher starts a text under a grammar; a nil grammar is no constraint.
func matcher(g *grammar.Grammar, e *runtime.Engine, tok *tokenizer.Tokenizer, eos []int32) (*grammar.Matcher, runtime.Constraint) {
	if g == nil {
		return nil, nil
	}
	v := grammar.NewVocabulary(e.Vocab(), func(id int32) []byte {
		if tok.IsSpecial(id) || int(id) >= tok.VocabSize() {
			return nil
		}
		return tok.Bytes(id)
	}, eos)
	m := g.NewMatcher(v)
	return m, m
}
