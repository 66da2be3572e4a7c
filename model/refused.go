package model

import "strings"

// unsupported says why architectures that people will try are not computed. Anything else is refused by its name alone.
var unsupported = map[string]string{
	"deepseek_v2 deepseek_v3 deepseek2 kimi_k2": "its keys and values are unfolded from a latent vector (MLA)",
	"qwen3_next qwen3next":                      "it keeps the projections of its delta networks in an order of its own",
	"lfm2_moe lfm2moe":                          "it chooses experts by sigmoids with biases",
	"mamba2 falcon_mamba codestral_mamba":       "only the first Mamba is drawn",
	"jamba bamba zamba zamba2 falcon_h1 falcon-h1 nemotron_h granitemoehybrid granitehybrid": "it mixes attention with recurrent layers",
	"rwkv5 rwkv6 rwkv7 rwkv6qwen2 arwkv7":                                                    "only RWKV 4 is drawn",
	"phimoe":                                                                                 "it chooses experts with sparse mixers",
	"granitemoeshared":                                                                       "its shared experts have no gates",
	"dbrx":                                                                                   "its experts are stored in one tensor of all",
	"chatglm":                                                                                "it is the remote code's form: take the checkpoint whose model_type is glm or glm4",
	"glm4_moe dots1 bailing_moe ernie4_5_moe hunyuan_v1_moe minimax exaone_moe": "it chooses experts by sigmoids, groups or biases of their own",
	"llama4 llama4_text":          "its attention is chunked and its queries are scaled by their position",
	"gemma3n gemma3n_text gemma4": "its embeddings are made anew in each layer",
	"gemma3 llava llava_next qwen2_vl qwen2_5_vl qwen3_vl mistral3 idefics3 smolvlm": "it sees pictures, and its config.json has no text_config of a language model",
	"mllama":                             "its language model sees pictures in layers of their own",
	"paligemma":                          "its language model reads a prompt in both directions",
	"pixtral":                            "it sees pictures and writes nothing",
	"bitnet":                             "its activations are rounded between layers",
	"apertus":                            "its activation is xIELU",
	"t5 mt5 bart pegasus marian whisper": "it has an encoder: only decoders alone are read",
	"bert roberta distilbert modernbert electra": "it is an encoder: only decoders are read",
}

// refusal returns ", which ..." for architectures that are known by name.
func refusal(name string) string {
	for names, why := range unsupported {
		for n := range strings.FieldsSeq(names) {
			if n == name {
				return ", which is not computed: " + why
			}
		}
	}
	return ""
}
