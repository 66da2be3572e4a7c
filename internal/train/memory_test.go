package train

import (
	"testing"
)

// TestForesee: what is foretold of a step's memory is what a trainer has, without reading a weight; LoRA matrices cost what they have, not
// what they stand beside; and the programs of a trainer share one arena.
func TestForesee(t *testing.T) {
	s := benchShape{hidden: 256, layers: 3, heads: 4, kv: 2, ffn: 688, vocab: 64, rows: 1, length: 32}
	m := benchModel(t, s)
	arena := map[string]int64{}
	for name, set := range map[string]Settings{
		"full": {}, "devices": {Devices: 3}, "checkpoint": {Checkpoint: true}, "lora": {LoRA: &LoRA{Rank: 4}},
		"some": {Train: func(name string) bool { return name == "layers.1.mlp.down" }},
	} {
		set.Schedule.Steps = 1
		f, err := Foresee(m, []Loss{crossEntropy()}, set, s.rows*max(1, set.Devices), s.length)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := New(m, []Loss{crossEntropy()}, set)
		if err != nil {
			t.Fatal(err)
		}
		p, err := tr.program(stepKey{s.rows, s.length, false, true, set.Devices > 1})
		if err != nil {
			t.Fatal(err)
		}
		var all, trained int64
		for _, v := range tr.student.variables {
			all += int64(v.shape().Size())
		}
		for _, v := range tr.trainedVariables() {
			trained += int64(v.shape().Size())
		}
		if f.Arena != int64(p.exec.Memory()) || f.Values != all || f.Trained != trained || f.Inputs != 4*3*32 {
			t.Errorf("%s: foretold %+v, the step takes %d, values %d, trained %d", name, f, p.exec.Memory(), all, trained)
		}
		if full := int64(m.Graph.Parameters()); name == "full" && f.Result != full || name == "some" && f.Result != 256*688 || name == "lora" && (f.Result <= 9*f.Trained || f.Result >= full) {
			t.Errorf("%s: %d of %d values come out", name, f.Result, full)
		}
		if want := 4*(all+3*trained) + f.Arena + f.Inputs; f.Bytes(false) != want || f.Bytes(true) != want+4*trained {
			t.Errorf("%s: %d bytes, want %d", name, f.Bytes(false), want)
		}
		arena[name] = f.Arena
	}
	if layer := int64(4 * 3 * 256 * 688); arena["lora"] > arena["full"]+layer/4 || arena["checkpoint"] > arena["full"] || arena["some"] > arena["full"] {
		t.Errorf("working memory %v, the large matrices of a layer have %d", arena, layer)
	}
}
