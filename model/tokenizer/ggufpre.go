package tokenizer

import (
	"encoding/json"
	"strconv"
	"strings"
)

// preTokenizer is what a name in tokenizer.ggml.pre stands for: splits one after the other, before bytes are mapped.
type preTokenizer struct {
	splits       []string // patterns; digits and punctuation steps by name
	gpt2         bool     // GPT-2's pattern follows, in the ByteLevel step
	ignoreMerges bool
	addBOS       bool     // where the file has no add_bos_token
	after        []string // splits of the mapped text, as Falcon has them
}

// Steps that are no patterns.
const (
	stepDigits      = "Digits"      // every digit is a piece
	stepDigitRuns   = "DigitRuns"   // numbers are pieces
	stepPunctuation = "Punctuation" // runs of punctuation are pieces
)

// ggufPre lists the names pare knows. Names that split alike are told apart because other programs look at them. Unknown names are
// refused: a guess would give other ids than the model was trained on. Of those that llama.cpp knows only afmoe, gemma4,
// granite-embed-multi-311m, sarvam-moe and whitespace are missing: none belongs to an architecture that is drawn here, and llama.cpp
// does not say which pattern stands behind the first.
var ggufPre = makeGGUFPre()

func makeGGUFPre() map[string]*preTokenizer {
	gpt2 := &preTokenizer{gpt2: true}
	digits := &preTokenizer{splits: []string{stepDigits}, gpt2: true}
	llama3 := &preTokenizer{splits: []string{patternLlama3}, ignoreMerges: true, addBOS: true}
	plain := func(pattern ...string) *preTokenizer { return &preTokenizer{splits: pattern} }
	qwen2, o200k := plain(patternQwen2), plain(patternO200k)
	t := map[string]*preTokenizer{
		"falcon":  {splits: []string{stepPunctuation}, gpt2: true, after: []string{stepDigitRuns, `[0-9][0-9][0-9]`}},
		"default": {splits: []string{`[\p{P}\$\+<=>\^~\|]+`, patternGPT2, `\p{N}+`, `[0-9][0-9][0-9]`}},

		"dbrx": plain(patternLlama3), "smaug-bpe": plain(patternLlama3), "glm4": plain(patternLlama3), "chatglm-bpe": plain(patternLlama3),
		"qwen35": plain(patternQwen35), "seed-coder": plain(patternSeedCoder), "jais-2": plain(patternJais2),
		"exaone-moe": plain(patternExaoneMoE), "minimax-m2": o200k,
		"minicpm5": {splits: []string{`\p{N}{1,3}`, patternMiniCPM5}, ignoreMerges: true},
		"laguna":   plain(`[^\n]+|[\n]+`, patternQwen2),
		"tekken":   {splits: []string{patternTekken}, ignoreMerges: true, addBOS: true},
		"youtu":    {splits: []string{patternYoutuScripts, patternYoutu}, ignoreMerges: true},
		"superbpe": plain(`\p{N}+`, digitGroupBorders),

		"deepseek-llm":   plain("[\r\n]", patternDeepSeekWords, patternDeepSeekPunct, `\s+$`, patternDeepSeekCJK, `\p{N}+`),
		"deepseek-coder": plain("[\r\n]", `\s?\p{L}+`, `\s?\p{P}+`, patternDeepSeekCJK, stepDigits),
		"chameleon": {splits: []string{`<sentinel:[0-9]+>`, `(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z`, `([\t\n]|    |  )`, stepDigits,
			`[\p{P}!-/:-@\[-` + "`" + `{-~]`}, gpt2: true, addBOS: true},
		"viking":                  plain(patternBloom, stepDigits),
		"kimi-k2":                 plain(patternKimi),
		"spark2_5":                plain(`\p{N}{1,3}`, patternDeepSeek3CJK, patternSpark, `\p{N}`),
		"ufakzeka":                plain(patternUfakZeka),
		"granite-embed-multi-97m": {splits: []string{patternO200k}, ignoreMerges: true},
	}
	for p, names := range map[*preTokenizer]string{
		gpt2: "gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 gigachat a.x-4.0 mellum modern-bert jina-es jina-de " +
			"jina-v1-en jina-v2-es jina-v2-de jina-v2-code roberta-bpe",
		digits: "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
		llama3: "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
		qwen2:  "qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 megrez hunyuan solar-open grok-2",
		o200k:  "gpt-4o llama4 kanana2 talkie",
		plain(`\p{N}{1,3}`, patternDeepSeek3CJK, patternDeepSeek3): "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
		plain(patternBloom):                       "bloom poro-chat gpt3-finnish",
		plain(patternBailing):                     "bailingmoe bailingmoe2 llada-moe",
		plain(digitGroupsAtWordEnd, patternO200k): "tiny_aya cohere2moe",
	} {
		for name := range strings.FieldsSeq(names) {
			t[name] = p
		}
	}
	t[""] = t["default"]
	return t
}

// json returns the pre_tokenizer component.
func (p *preTokenizer) json() json.RawMessage {
	var steps []string
	step := func(s string) {
		switch s {
		case stepDigits:
			steps = append(steps, `{"type":"Digits","individual_digits":true}`)
		case stepDigitRuns:
			steps = append(steps, `{"type":"Digits","individual_digits":false}`)
		case stepPunctuation:
			steps = append(steps, `{"type":"Punctuation","behavior":"Contiguous"}`)
		default:
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string
			}
			steps = append(steps, `{"type":"Split","pattern":{"Regex":`+string(quoted)+`},"behavior":"Isolated","invert":false}`)
		}
	}
	for _, s := range p.splits {
		step(s)
	}
	steps = append(steps, `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":`+strconv.FormatBool(p.gpt2)+`}`)
	for _, s := range p.after {
		step(s)
	}
	if len(steps) == 1 {
		return json.RawMessage(steps[0])
	}
	return json.RawMessage(`{"type":"Sequence","pretokenizers":[` + strings.Join(steps, ",") + `]}`)
}
