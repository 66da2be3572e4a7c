// Package serve answers HTTP requests in the form of OpenAI's interface from one model: /v1/completions and
// /v1/chat/completions (whole or as a stream of events), /v1/models, /health, and /metrics for Prometheus.
//
// All requests share one loop over the weights. Each turn of it takes one token of every text that is being written and a
// piece of every prompt that is being read (continuous batching, chunked prefill: Yu et al. 2022, Agrawal et al. 2023), so that a long prompt
// does not stop others, and a request that its client has left ends within one token. A text is the same bits whatever
// stands beside it, and whatever a draft model drafts of it. Sessions keep their keys and values when a request ends: the
// next one that begins with the same tokens, as any that runs, copies them instead of reading the tokens again.
//
// Clients are not trusted: every field, body, header, queue and time has a bound, and nothing a request holds names a
// file or an address.
package serve
