package store

import (
	"bytes"
	"os"
	"testing"

	"github.com/parelm/pare/internal/fsx/fsxtest"
)

// FuzzManifest: no bytes panic, names that are accepted stay inside, and what is accepted is written back unchanged.
func FuzzManifest(f *testing.F) {
	seed := uint64(7)
	m := Manifest{Name: "q4", Key: keyOf("q4"), Stage: "quantize", Settings: []byte(`{"bits":4}`), Seed: &seed,
		Inputs: []Input{{Role: "model", Name: "base", Digest: keyOf("base")}}, Files: []FileEntry{{Name: "a/b", Bytes: 3, SHA256: keyOf("x")}}}
	good, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("a/b"), []byte("../b"), 1))
	f.Add([]byte(`{"format":1,"files":[{"name":"/etc/passwd"}]}`))
	f.Add([]byte(`null`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeManifest(data)
		if err != nil {
			return
		}
		for _, e := range m.Files {
			if err := checkName(e.Name); err != nil {
				t.Error(err)
			}
		}
		if again, err := m.encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("accepted %q but writes %q (%v)", data, again, err)
		}
	})
}

// FuzzLog: no bytes in run.jsonl panic or keep a store from opening, and an event appended after them is found again.
func FuzzLog(f *testing.F) {
	f.Add([]byte("{\"event\":\"done\"}\n{\"event\":"))
	f.Add([]byte("\n\n\x00"))
	f.Add([]byte("[1]\n{\"event\":1}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := fsxtest.NewMem()
		s, err := Open(m, "/out", "test")
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		log, err := m.OpenFile("/out/"+logName, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		log.Write(data)
		log.Close()
		if s, err = Open(m, "/out", "test"); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Log(Event{Event: "mark"}); err != nil {
			t.Fatal(err)
		}
		events, err := ReadLog(m, "/out")
		if err != nil || len(events) == 0 || events[len(events)-1].Event != "mark" {
			t.Errorf("%v %v", events, err)
		}
	})
}
