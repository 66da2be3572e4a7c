// Package recipes reads a recipe, plans it, runs it, and goes on where an earlier run stopped.
//
// A recipe is an ordered list of stages that turn a teacher checkpoint into small models and measure them:
//
//	model: ./checkpoints/base
//	data:  {calib: ./calib.jsonl, heldout: ./heldout.txt}
//	stages:
//	  - name: slim
//	    prune:    {ffn: 0.75, depth: 0.9}
//	  - name: q4
//	    quantize: {algorithm: gptq, format: q4_k_m}
//	  - name: report
//	    eval:     {models: [base, slim, q4], tasks: [perplexity, kld]}
//	gate: {model: q4, max_degradation: {perplexity: 5%}}
//
// Every stage makes an artifact: a directory with a manifest, found again by its key, the digest of everything that
// makes it what it is: kind, settings, inputs, data, seed, version. A run makes what is not there yet. So the second run
// does nothing, a changed setting repeats only what depends on it, and a killed run goes on.
//
// The engine knows no kind of stage. A kind is a struct whose fields are its settings, registered under its key; see
// Kind and Stage.
package recipes
