package report

import (
	"encoding/xml"
	"fmt"
	"strings"
	"unicode/utf8"
)

// JUnit renders the gate as a test suite, the form in which build servers show results.
func (r *Report) JUnit() ([]byte, error) {
	type failure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Name      string   `xml:"name,attr"`
		Classname string   `xml:"classname,attr"`
		Failure   *failure `xml:"failure,omitempty"`
	}
	type suite struct {
		XMLName   xml.Name   `xml:"testsuite"`
		Name      string     `xml:"name,attr"`
		Tests     int        `xml:"tests,attr"`
		Failures  int        `xml:"failures,attr"`
		Timestamp string     `xml:"timestamp,attr"`
		Time      string     `xml:"time,attr"`
		Cases     []testcase `xml:"testcase"`
	}
	s := suite{Name: "pare " + clean(r.Title), Timestamp: r.Generated.Format("2006-01-02T15:04:05")}
	seconds := 0.0
	for _, st := range r.Stages {
		seconds += st.Seconds
	}
	s.Time = fmt.Sprintf("%.3f", seconds)
	if r.Gate != nil {
		for _, c := range r.Gate.Checks {
			t := testcase{Name: clean(c.Name), Classname: "gate." + clean(r.Title)}
			if !c.OK {
				t.Failure = &failure{Message: clean(c.Text), Type: "gate", Text: clean(fmt.Sprintf("%s\nlimit %v, value %v", c.Text, c.Limit, c.Value))}
				s.Failures++
			}
			s.Cases = append(s.Cases, t)
		}
	}
	s.Tests = len(s.Cases)
	data, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), append(data, '\n')...), nil
}

// clean drops what XML cannot hold.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < ' ' && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}
