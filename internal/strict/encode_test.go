package strict

import (
	"reflect"
	"testing"
	"time"
)

// TestEncode: what is written decodes to the same values.
func TestEncode(t *testing.T) {
	five := 5
	s := settings{base: base{32, 4.5}, Algorithm: "gptq", Keep: 1e-7, Bits: 3, On: true, Size: 12345, Wait: 90 * time.Second,
		Names: []string{"no", "1e3", "", "a: b", "true", "x\ny", "~", "0x10", "ü", "#"}, Shares: map[string]float64{"b": 1, "a": 0.5},
		Losses: map[string]loss{"kl": {1, 2}}, Sub: inner{3}, Subs: []inner{{1}, {2}}, Opt: &five, Kind: "X", Other: "5"}
	var m Mapping
	m.AddFields(false, &s)
	text, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var got settings
	if err := decode(string(text), &got); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !reflect.DeepEqual(got, s) {
		t.Errorf("got %+v\nwant %+v\n%s", got, s, text)
	}
	var short Mapping
	short.AddFields(true, &settings{Keep: 0.5})
	short.Add("stages", []*Mapping{{}, {}})
	if text, err := short.Bytes(); err != nil || string(text) != "keep: 0.5\nstages:\n- {}\n- {}\n" {
		t.Errorf("%q %v", text, err)
	}
}
