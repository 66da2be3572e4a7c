package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var (
	update = flag.Bool("update", false, "write the golden files")
	dump   = flag.String("dump", "", "write all pages of the sample into this directory, to look at")
)

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs, see it with -update:\n%s", name, got)
	}
}

func TestPages(t *testing.T) {
	pages, err := sample().Pages()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range pages {
		names = append(names, p.Name)
		if len(p.Data) == 0 {
			t.Errorf("%s is empty", p.Name)
		}
		if *dump != "" {
			if err := os.WriteFile(filepath.Join(*dump, p.Name), p.Data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := strings.Join(names, " "); got != "report.json report.md report.html junit.xml plot.svg plot.png compare.svg compare.png loss-student.svg loss-student.png" {
		t.Error(got)
	}
}

func TestMarkdown(t *testing.T) { golden(t, "report.md", sample().Markdown()) }

func TestJUnit(t *testing.T) {
	data, err := sample().JUnit()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "junit.xml", data)
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Cases    []struct {
			Failure *struct{} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(data, &suite); err != nil || suite.Tests != 2 || suite.Failures != 1 || suite.Cases[0].Failure == nil || suite.Cases[1].Failure != nil {
		t.Errorf("%+v %v", suite, err)
	}
}

// TestJSONKeys: the keys are a promise. New ones may come; none may go or change its name.
func TestJSONKeys(t *testing.T) {
	data, err := sample().JSON()
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(&back, sample()) {
		t.Errorf("does not come back as it was: %v", err)
	}
	keys := map[string]bool{}
	for _, k := range regexp.MustCompile(`(?m)^ *"([a-z_0-9]+)":`).FindAllStringSubmatch(string(data), -1) {
		keys[k[1]] = true
	}
	for k := range strings.FieldsSeq(`format title description generated pare machine cpu cores threads memory_bytes os go kernel baseline models name stage from
		path digest bytes parameters bits_per_weight perplexity value stderr tokens nll protocol kld mean p99 max top1_agreement top1_stderr tasks metric low high n
		prefill decode tokens_per_second stddev peak_memory_bytes load_seconds stages key reused seconds estimated_seconds estimated_bytes estimated_memory_bytes
		gate ok checks limit text inputs role curves steps values tables columns rows warnings recipe`) {
		if !keys[k] {
			t.Errorf("key %q is gone", k)
		}
	}
}

// TestHTML: one file that needs nothing and lets no foreign text become markup.
func TestHTML(t *testing.T) {
	r := sample()
	r.Title = `<script>alert("x")</script>`
	r.Models[1].Name = `"><img src=x onerror=y>`
	r.Warnings = []string{"<b>bold</b>"}
	r.Curves[0].Name = "</svg><script>"
	data, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	html := string(data)
	for _, bad := range []string{"<script", "<img", "<b>", "src=", "http://", "https://", "url(", "@import", "<link"} {
		if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(html, `xmlns="http://www.w3.org/2000/svg"`, ""), `img src=x onerror`, ""), bad) {
			t.Errorf("holds %q", bad)
		}
	}
	for _, want := range []string{"<!doctype html>", "prefers-color-scheme", "@media print", "<svg", "Q4_K_M", "gate not met", "5.740 ± 0.046", "1/5.1"} {
		if !strings.Contains(html, want) {
			t.Errorf("lacks %q", want)
		}
	}
	for _, tag := range []string{"table", "tr", "td", "th", "details", "figure", "svg", "ul", "li", "div", "small"} {
		open := len(regexp.MustCompile(`<`+tag+`[ >]`).FindAllString(html, -1))
		if shut := strings.Count(html, "</"+tag+">"); open != shut || open == 0 {
			t.Errorf("%d <%s> and %d </%s>", open, tag, shut, tag)
		}
	}
}

// TestSparseReports: whatever is missing, there is a report.
func TestSparseReports(t *testing.T) {
	for name, r := range map[string]*Report{
		"empty":     {},
		"one model": {Title: "x", Baseline: "base", Models: []Model{{Name: "base", Bytes: 10, Perplexity: &Perplexity{Value: 3}}}},
		"no sizes":  {Baseline: "base", Models: []Model{{Name: "base", Perplexity: &Perplexity{Value: 3}}}},
		"same size": {Baseline: "a", Models: []Model{{Name: "a", Bytes: 10, Perplexity: &Perplexity{Value: 3}}, {Name: "b", Bytes: 10, Perplexity: &Perplexity{Value: 3}}}},
		"zero":      {Baseline: "a", Models: []Model{{Name: "a", Bytes: 10, Perplexity: &Perplexity{}}}},
		"huge":      {Baseline: "a", Models: []Model{{Name: "a", Bytes: 1 << 62, Perplexity: &Perplexity{Value: 1e300, Stderr: 1e299}}, {Name: "b", Bytes: 1, Perplexity: &Perplexity{Value: 1e-300}}}},
		"no base":   {Baseline: "gone", Models: []Model{{Name: "a", Bytes: 10, KLD: &KLD{Mean: 0.1}, Decode: &Speed{TokensPerSecond: 3}}}},
		"flat loss": {Curves: []Curve{{"a", "loss", []float64{0, 1}, []float64{2, 2}}}},
		"one step":  {Curves: []Curve{{"a", "loss", []float64{0}, []float64{2}}}},
		"ragged":    {Curves: []Curve{{"a", "loss", []float64{0, 1, 2}, []float64{2}}}, Tables: []Table{{"t", []string{"a", "b"}, [][]string{{"x"}, {}}}}},
	} {
		pages, err := r.Pages()
		if err != nil || len(pages) < 3 {
			t.Errorf("%s: %d pages, %v", name, len(pages), err)
		}
	}
}

func TestFigures(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{figure(5.2148, 4), "5.215"}, {figure(5, 4), "5"}, {figure(0.00123, 2), "0.0012"}, {figure(123456, 3), "123456"}, {figure(1e9, 3), "1e+09"}, {figure(0, 3), "0"},
		{figure(-1.50, 3), "-1.5"}, {figure(0.00001, 2), "1e-05"}, {fixed(5, 4), "5.000"}, {fixed(16, 3), "16.0"}, {fixed(0, 3), "0"},
		{size(0), "0 B"}, {size(999), "999 B"}, {size(999.6), "1 kB"}, {size(1540000), "1.54 MB"}, {size(7.8e9), "7.8 GB"}, {Bytes(1e15), "1 PB"},
		{count(3.9e6), "3.9M"}, {count(500), "500"}, {pm(5.21, 0.042), "5.210 ± 0.042"}, {pm(0.31, 0.0062), "0.3100 ± 0.0062"}, {pm(123, 4.5), "123.0 ± 4.5"}, {pm(1234, 45), "1234 ± 45"}, {pm(3, 0), "3.000"}, {pm(0.00041, 0.000017), "0.000410 ± 0.000017"},
		{Duration(0.0042), "4.2 ms"}, {Duration(0.42), "0.42 s"}, {Duration(59.94), "59.9 s"}, {Duration(131), "2 min 11 s"}, {Duration(7300), "2 h 1 min"}, {signed(1, 2), "+1"}, {signed(-0.25, 2), "−0.25"}, {signed(0, 2), "0"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}

func TestHeadline(t *testing.T) {
	r := sample()
	if got := r.Headline(); got != "q4 is 1/5.1 of base's size (1.54 MB instead of 7.8 MB) at perplexity 5.74 instead of 5.21 (+10 %), decoding 2.5 times as fast." {
		t.Error(got)
	}
	r.Gate = nil
	if got := r.Headline(); !strings.HasPrefix(got, "q4-rtn is 1/5.3 of base's size") {
		t.Error(got)
	}
	r.Models = r.Models[:1]
	if got := r.Headline(); got != "" {
		t.Error(got)
	}
}

func TestMergeAndMetrics(t *testing.T) {
	var r Report
	share := 0.9
	r.Add(Facts{Models: []Model{{Name: "a", Bytes: 10, Perplexity: &Perplexity{Value: 5}}}, Warnings: []string{"w"}})
	r.Add(Facts{Models: []Model{{Name: "a", Decode: &Speed{TokensPerSecond: 7}, Top1Agreement: &share, Tasks: map[string]Task{"t": {Metric: "accuracy", Value: 0.4}}}, {Name: "b"}}, Warnings: []string{"w"}})
	if len(r.Models) != 2 || len(r.Warnings) != 1 || r.Model("a").Bytes != 10 || r.Model("c") != nil {
		t.Errorf("%+v", r)
	}
	m := r.Model("a")
	for name, want := range map[string]float64{"perplexity": 5, "decode": 7, "top1_agreement": 0.9, "size": 10, "t": 0.4} {
		if v, less, ok := m.Metric(name); !ok || v != want || less != (name == "perplexity" || name == "size") {
			t.Errorf("%s: %v %v %v", name, v, less, ok)
		}
	}
	for _, name := range []string{"kld", "prefill", "memory", "bits_per_weight", "u"} {
		if _, _, ok := m.Metric(name); ok {
			t.Errorf("%s was never measured", name)
		}
	}
	if m := ThisMachine(); m.Cores < 1 || m.OS == "" || m.Go == "" {
		t.Errorf("%+v", m)
	}
}
