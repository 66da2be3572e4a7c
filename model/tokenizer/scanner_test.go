package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// patternsUnderTest are the split patterns of published tokenizers; twin is the pattern for the backtracking engine of the test
// where that engine reads another dialect.
var patternsUnderTest = []struct{ name, pattern, twin string }{
	{"gpt2", patternGPT2, ""},
	{"llama3", patternLlama3, ""},
	{"qwen2", patternQwen2, ""},
	{"qwen35", patternQwen35, ""},
	{"seedcoder", patternSeedCoder, ""},
	{"bailing", patternBailing, `'(?i:[sdmt]|ll|ve|re)|(?>[^\r\n\p{L}\p{N}]?)\p{L}+|\p{N}| ?(?>[^\s\p{L}\p{N}]+)[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`},
	{"minicpm5", patternMiniCPM5, ""},
	{"jais2", patternJais2, ""},
	{"exaone-moe", patternExaoneMoE, ""},
	{"o200k", patternO200k, ""},
	{"tekken", patternTekken, ""},
	{"youtu", patternYoutu, ""},
	{"youtu scripts", patternYoutuScripts, ""},
	{"deepseek3", patternDeepSeek3, ""},
	{"deepseek3 cjk", patternDeepSeek3CJK, ""},
	{"deepseek cjk", patternDeepSeekCJK, ""},
	{"deepseek words", patternDeepSeekWords, ""},
	{"deepseek punct", patternDeepSeekPunct, ""},
	{"bloom", patternBloom, ""},
	{"spark", patternSpark, ""},
	{"ufakzeka", patternUfakZeka, ""},
	{"kimi", patternKimi, strings.NewReplacer(`[\p{Han}]+`, hanTwin+`+`, `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]`, `(?:(?!`+hanTwin+`)`+upperRun+`)`,
		`[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]`, `(?:(?!`+hanTwin+`)`+lowerRun+`)`).Replace(patternKimi)},
	{"digit groups", digitGroupsAtWordEnd, `\d{1,3}(?=(?:\d{3})*(?![\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}]))`},
	{"digit borders", digitGroupBorders, ""},
	{"digits", `[0-9][0-9][0-9]`, ""},
	{"newlines", `[^\n]+|[\n]+`, ""},
	{"blanks", `([\t\n]|    |  )`, ""},
	{"letters", `\s?\p{L}+`, ""},
	{"space end", `\s+$`, `\s+(?=\n|\z)`},
	{"cl100k", `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s`,
		`'(?i:[sdmt]|ll|ve|re)|(?>[^\r\n\p{L}\p{N}]?)(?>\p{L}+)|\p{N}{1,3}| ?(?>[^\s\p{L}\p{N}]+)(?>[\r\n]*)|(?>\s+)(?=\n|\z)|\s*[\r\n]|\s+(?!\S)|\s`},
	{"spelled contractions", `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`, ""},
	{"han", `[一-鿿]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lo}&&[^一-鿿]]+|\s+|[^\s\p{L}]+`,
		`[一-鿿]+|[^\r\n\p{L}\p{N}]?(?:(?![一-鿿])[\p{Lu}\p{Lo}])+|\s+|[^\s\p{L}]+`},
}

// hanTwin is \p{Han} for an engine that knows no scripts.
var hanTwin = func() string {
	var b strings.Builder
	b.WriteByte('[')
	for _, r := range tableRanges(unicode.Han) {
		fmt.Fprintf(&b, "%c-%c", r.lo, r.hi)
	}
	return b.String() + "]"
}()

// snippets make texts that reach every branch of the patterns.
var snippets = []string{" ", "  ", "   ", "\n", "\r\n", "\t", " ", "　", "a", "ab", "Ab", "ABC", "É", "é", "e\u0301", "ß", "ǅ",
	"ʰ", "\u0301", "'s", "'T", "'ll", "'LL", "'re", "'x", "'", "1", "12", "1234567", "٣", "½", "Ⅷ", ".", "...", "!?", "/", "_", "$", "+", "一二", "かな",
	"カ", "한글", "，", "。", "；", "々", "𠀀", "नमस्ते", "ไทย", "😀", "👩\u200d💻", "\u200d", "\x00", "|", "`", "()", "\u0085", "\u2028", "x y"}

func randomText(r *rand.Rand, n int) string {
	var b strings.Builder
	for range r.IntN(n) + 1 {
		s := snippets[r.IntN(len(snippets))]
		if r.IntN(8) == 0 {
			s = strings.Repeat(s, r.IntN(6))
		}
		b.WriteString(s)
	}
	return b.String()
}

func scanAll(sc scanner, s string) (out []string) {
	var st scanState
	for pos := 0; pos < len(s); {
		start, end := sc.next(&st, s, pos)
		if start == len(s) {
			break
		}
		out = append(out, fmt.Sprintf("%d-%d", start, end))
		if pos = end; start == end {
			_, w := utf8.DecodeRuneInString(s[end:])
			pos += w
		}
	}
	return out
}

// twinAll finds the same matches with a backtracking engine.
func twinAll(t testing.TB, re *regexp2.Regexp, s string) (out []string) {
	at := make([]int, 0, len(s)+1) // byte offset of each rune
	for i := range s {
		at = append(at, i)
	}
	at = append(at, len(s))
	m, err := re.FindStringMatch(s)
	for m != nil && err == nil {
		if m.Index < len(at)-1 {
			out = append(out, fmt.Sprintf("%d-%d", at[m.Index], at[m.Index+m.Length]))
		}
		m, err = re.FindNextMatch(m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func compileTwins(t testing.TB) (scanners []scanner, twins []*regexp2.Regexp) {
	for _, p := range patternsUnderTest {
		sc, err := compileRegex(p.pattern)
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		twin := p.twin
		if twin == "" {
			twin = p.pattern
		}
		re, err := regexp2.Compile(twin, regexp2.None)
		if err != nil {
			t.Fatalf("%s: twin: %v", p.name, err)
		}
		re.MatchTimeout = 10 * time.Second
		scanners, twins = append(scanners, sc), append(twins, re)
	}
	return scanners, twins
}

func TestScannersEqualBacktracking(t *testing.T) {
	scanners, twins := compileTwins(t)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		s := randomText(r, 2+i%30)
		for k, p := range patternsUnderTest {
			got, want := scanAll(scanners[k], s), twinAll(t, twins[k], s)
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Fatalf("%s on %q:\n got %v\nwant %v", p.name, s, got, want)
			}
		}
	}
}

func FuzzScanners(f *testing.F) {
	scanners, twins := compileTwins(f)
	for i, s := range snippets {
		f.Add(byte(i), s+"a"+s+" "+s)
	}
	f.Fuzz(func(t *testing.T, k byte, s string) { // one pattern at a time: the backtracking twins are slow
		if len(s) > 200 || !utf8.ValidString(s) || strings.ContainsAny(s, "ſK") { // the twin does not fold these two
			t.Skip()
		}
		i := int(k) % len(patternsUnderTest)
		got, want := scanAll(scanners[i], s), twinAll(t, twins[i], s)
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Fatalf("%s on %q:\n got %v\nwant %v", patternsUnderTest[i].name, s, got, want)
		}
	})
}
