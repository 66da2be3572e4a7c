package tokenizer

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// Split names a way to cut text before byte-level BPE: the pattern of a published tokenizer.
type Split string

// The splits offered to Train and FromTiktoken.
const (
	SplitGPT2   Split = patternGPT2   // GPT-2, the common denominator: every program reads it
	SplitCL100K Split = patternLlama3 // cl100k_base and Llama 3: numbers in threes, case-blind contractions, newlines apart
	SplitQwen2  Split = patternQwen2  // as cl100k_base, every digit by itself
	SplitO200K  Split = patternO200k  // o200k_base: words are cut where lower case turns to upper
)

// FromTiktoken reads a file of tiktoken ranks: a line for each token, its bytes in base64 and its rank, which is
// its id. Such files hold neither the split nor the special tokens. file is its name, for errors.
func FromTiktoken(file string, data []byte, split Split, special []AddedToken) (*Tokenizer, error) {
	s := &spec{file: file, named: noNamedTokens(), added: special}
	if int64(len(data)) > limits.Tokenizer {
		return nil, tensor.Errorf(tensor.ErrTooLarge, file, "", "has %d bytes, the limit is %d", len(data), limits.Tokenizer)
	}
	tokens := map[int32]string{}
	top := int32(-1)
	for n, line := range strings.Split(string(data), "\n") {
		if line == "" {
			continue
		}
		text, rank, _ := strings.Cut(strings.TrimSuffix(line, "\r"), " ")
		raw, err := base64.StdEncoding.DecodeString(text)
		id, err2 := strconv.ParseInt(rank, 10, 32)
		if err != nil || err2 != nil || id < 0 || len(raw) == 0 {
			return nil, s.corrupt("line "+strconv.Itoa(n+1), "%q is not a token in base64 and its rank", clip(line, 60))
		}
		if _, twice := tokens[int32(id)]; twice {
			return nil, s.corrupt("line "+strconv.Itoa(n+1), "rank %d appears twice", id)
		}
		tokens[int32(id)] = mapBytes(string(raw))
		top = max(top, int32(id))
	}
	if err := s.checkID(max(top, 0), len(tokens)); err != nil {
		return nil, err
	}
	m := &s.model
	m.Type, m.unk, m.ignoreMerges = "BPE", -1, true
	m.pieces = make([]string, top+1)
	m.kinds = make([]pieceKind, top+1)
	scores := make([]float64, top+1)
	for id, p := range tokens {
		m.pieces[id], m.kinds[id], scores[id] = p, kindNormal, -float64(id)
	}
	if err := s.mergesFromScores(scores); err != nil {
		return nil, err
	}
	pattern, err := json.Marshal(string(split))
	if err != nil {
		return nil, err
	}
	s.pre = json.RawMessage(`{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":` + string(pattern) +
		`},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}`)
	s.dec = byteLevelJSON(false)
	s.guessNamed()
	return s.build()
}
