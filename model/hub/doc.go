// Package hub brings models from the Hugging Face Hub, or a server like it, into the cache that other programs use too.
//
//	hf://org/name             the main branch
//	hf://org/name@revision    a branch, tag or commit
//	hf://org/name/FILE.gguf   one file of a repository that holds several GGUF files
//
// Only what a model needs is fetched: configuration, tokenizer, weights of one kind. Large files come in ranges over
// several connections and are written in order, so that an interrupted download, ours or another program's, goes on where it
// stopped. Every file is checked against the hash that the hub gives: SHA-256 for large files, git's blob SHA-1 for
// others. A file appears under its name when it is complete and right.
//
// The layout is that of the huggingface_hub library: models--org--name with blobs, refs and snapshots of links. So are the
// environment variables: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE. The token goes to the
// endpoint and nowhere else. Without a network, or offline, what is complete in the cache is used.
package hub
