package report

import (
	"fmt"
	"math"
	"time"
)

// sample is a report with everything in it, of the kind a run on a small model gives.
func sample() *Report {
	share := func(x float64) *float64 { return &x }
	model := func(name, stage, from, format string, bytes, params int64, ppl, kld, top1, prefill, decode float64) Model {
		m := Model{Name: name, Stage: stage, From: from, Format: format, Bytes: bytes, Parameters: params, BitsPerWeight: 8 * float64(bytes) / float64(params),
			Digest: fmt.Sprintf("%064x", bytes), Path: "pare-out/quickstart/" + name,
			Perplexity: &Perplexity{Value: ppl, Stderr: ppl * 0.008, Tokens: 51200, NLL: math.Log(ppl), Protocol: "BOS, window 256"},
			Tasks:      map[string]Task{"brackets": {Metric: "accuracy", Value: top1 - 0.1, Stderr: 0.02, Low: top1 - 0.14, High: top1 - 0.06, N: 500}},
			Prefill:    &Speed{prefill, prefill * 0.02, 512, 2}, Decode: &Speed{decode, decode * 0.01, 64, 2}, PeakMemory: bytes + 20e6, LoadSeconds: 0.01}
		if kld > 0 {
			m.KLD = &KLD{Mean: kld, Stderr: kld / 50, P99: kld * 9, Max: kld * 40}
			m.Top1Agreement, m.Top1Stderr = share(top1), 0.002
		}
		return m
	}
	r := &Report{
		Format: 1, Title: "quickstart", Description: "A Go-code model, pruned, distilled and quantized on a laptop.",
		Generated: time.Date(2026, 11, 24, 8, 30, 0, 0, time.UTC), Pare: "0.1.0-dev", Baseline: "base",
		Machine: Machine{CPU: "AMD EPYC 7B13 Processor", Cores: 2, Threads: 2, Memory: 24e9, OS: "linux/amd64", Go: "go1.26.8", Kernel: "avx2"},
		Models: []Model{
			model("base", "", "", "bf16", 7_800_000, 3_900_000, 5.21, 0, 0.9, 5210, 910),
			model("slim", "prune", "base", "bf16", 5_100_000, 2_550_000, 6.98, 0.31, 0.78, 7400, 1230),
			model("student", "distill", "slim", "bf16", 5_100_000, 2_550_000, 5.62, 0.09, 0.88, 7390, 1240),
			model("q8", "quantize", "student", "Q8_0", 2_710_000, 2_550_000, 5.625, 0.091, 0.879, 9100, 1810),
			model("q4", "quantize", "student", "Q4_K_M", 1_540_000, 2_550_000, 5.74, 0.104, 0.861, 8800, 2260),
			model("q4-rtn", "quantize", "student", "Q4_0", 1_480_000, 2_550_000, 5.93, 0.14, 0.84, 8900, 2300),
		},
		Protocol: []string{"Perplexity: exp of the mean negative log-likelihood over windows of 256 tokens with BOS, each token scored once.", "Speed: median of 5 repetitions of 512 prompt tokens and 64 generated ones."},
		Warnings: []string{"q4: 2 tensors fell back to Q8_0, since their rows are no multiple of 256"},
		Inputs:   []Input{{"model", "./quickstart/teacher", 7_800_000, fmt.Sprintf("%064x", 1)}, {"heldout", "quickstart/heldout.txt", 210_000, fmt.Sprintf("%064x", 2)}},
		Recipe:   "model: ./quickstart/teacher\nseed: 7\nstages:\n- name: slim\n  prune: {depth: 0.9, ffn: 0.75}\n",
		Gate: &Gate{OK: false, Checks: []Check{
			{"q4 max_degradation.perplexity", 0.05, 0.1017, false, "perplexity of q4 is 5.74, of base 5.21: 10.2 % worse, at most 5 % allowed"},
			{"q4 max_size", 2e6, 1.54e6, true, "size of q4 is 1.54 MB, at most 2 MB"},
		}},
		Tables: []Table{{"Tensors of q4", []string{"tensor", "format", "error"}, [][]string{{"layers.0.attn.q", "q4_k", "0.0021"}, {"layers.0.mlp.down", "q6_k", "0.0004"}, {"a|b`c*", "<b>", "&"}}}},
	}
	for i, k := range []string{"prune", "distill", "quantize", "quantize", "quantize", "eval"} {
		r.Stages = append(r.Stages, Stage{Name: []string{"slim", "student", "q8", "q4", "q4-rtn", "report"}[i], Kind: k, Key: fmt.Sprintf("%064x", i), Digest: fmt.Sprintf("%064x", i+9),
			Seconds: []float64{4.2, 131, 0.4, 9.7, 0.3, 22}[i], Bytes: 1e6 * int64(i+1), PeakMemory: 2e8, Reused: i == 0, EstimatedSeconds: []float64{0, 120, 0.5, 11, 0.5, 20}[i], EstimatedBytes: 1e6 * int64(i+1), EstimatedMemory: 22e7})
	}
	var train, held Curve
	train, held = Curve{Stage: "student", Name: "loss"}, Curve{Stage: "student", Name: "held-out loss"}
	for s := range 400 {
		x := float64(s)
		train.Steps = append(train.Steps, x)
		train.Values = append(train.Values, 0.35+0.9*math.Exp(-x/60)+0.05*math.Sin(x*12.9898)*math.Cos(x*78.233))
		if s%25 == 0 {
			held.Steps = append(held.Steps, x)
			held.Values = append(held.Values, 0.41+0.85*math.Exp(-x/65))
		}
	}
	r.Curves, r.Pairs = []Curve{train, held}, comparisons()
	return r
}
