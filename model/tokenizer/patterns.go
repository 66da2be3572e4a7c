package tokenizer

// Split patterns as the published tokenizer files spell them. Nothing here is needed to read a tokenizer.json, which
// carries its own pattern; GGUF files name theirs (gguf_pre.go), and the trainer offers two.
const (
	patternGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

	contractions = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	newlineTail  = `|\s*[\r\n]+|\s+(?!\S)|\s+`
	wordTail     = `| ?[^\s\p{L}\p{N}]+[\r\n]*` + newlineTail

	// Llama 3, and cl100k_base of OpenAI but for the case of its letters.
	patternLlama3 = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}` + wordTail
	patternQwen2  = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}` + wordTail
	patternQwen35 = contractions + `|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*` + newlineTail

	patternUfakZeka = `[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}` + wordTail // Qwen 2's without contractions: Turkish suffixes follow an apostrophe

	patternSeedCoder = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}` + "\r\n" + `]+|\s*[` + "\r\n" + `]+|\s+(?!\S)|\s+`
	patternBailing   = `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`
	patternMiniCPM5  = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+` + wordTail
	patternJais2     = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+` +
		`|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}`
	patternExaoneMoE = contractions + `|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+`

	upperRun = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
	lowerRun = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
	caseTail = `| ?[^\s\p{L}\p{N}]+[\r\n/]*` + newlineTail

	// o200k_base of OpenAI; Mistral's Tekken splits off no contractions and every digit.
	patternO200k = `[^\r\n\p{L}\p{N}]?` + upperRun + `*` + lowerRun + `+` + contractions + `?` +
		`|[^\r\n\p{L}\p{N}]?` + upperRun + `+` + lowerRun + `*` + contractions + `?` + `|\p{N}{1,3}` + caseTail
	patternTekken = `[^\r\n\p{L}\p{N}]?` + upperRun + `*` + lowerRun + `+` +
		`|[^\r\n\p{L}\p{N}]?` + upperRun + `+` + lowerRun + `*` + `|\p{N}` + caseTail
	// Kimi K2 splits Chinese off first; its words are o200k's without it.
	patternKimi = `[\p{Han}]+` +
		`|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+` + contractions + `?` +
		`|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*` + contractions + `?` +
		`|\p{N}{1,3}` + wordTail
	patternYoutuScripts = `[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+`
	patternYoutu        = `[^\r\n\p{L}\p{N}]?` + upperRun + `*` + lowerRun + `+` + contractions + `?` +
		`|[^\r\n\p{L}\p{N}]?` + upperRun + `+` + lowerRun + `*` + contractions + `?` + `|\p{N}` + caseTail

	patternDeepSeek3     = `[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` + "`" + `{|}~][A-Za-z]+|[^` + "\r\n" + `\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[` + "\r\n" + `]*|\s*[` + "\r\n" + `]+|\s+(?!\S)|\s+`
	patternSpark         = `[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` + "`" + `{|}~][A-Za-z]+|[^` + "\r\n" + `\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[` + "\r\n" + `]|\s+(?!\S)|\s+`
	patternDeepSeek3CJK  = `[一-龥぀-ゟ゠-ヿ]+`
	patternDeepSeekCJK   = `[一-龥ࠀ-一가-퟿]+`
	patternDeepSeekWords = `\s?[` +
		`A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}` +
		`\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}` +
		`\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}` +
		`\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}` +
		`\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}` +
		`\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}` +
		`\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}` +
		`\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}` +
		`\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}` +
		`\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}` +
		`\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}` +
		`\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}` +
		`\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}` +
		`\x{1E900}-\x{1E943}` + `]+`
	patternDeepSeekPunct = `\s?[!-/:-~！-／：-～‘-‟　-。]+`

	patternBloom = ` ?[^(\s|.,!?…。，、।۔،)]+`
)
