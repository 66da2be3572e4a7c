// Package store is the one door to the disk: whatever pare leaves behind goes through here, so that an output is
// absent, or complete and verified, and never anything in between.
//
// The protocol, for a directory of files:
//
//	make .tmp-NAME-PID -> write, hashing -> fsync each file -> write manifest.json (names, sizes, SHA-256, provenance)
//	-> fsync -> fsync the directory -> rename to NAME -> fsync the parent -> append a line to run.jsonl
//
// A failed fsync ends the attempt and is never repeated, since the kernel may have dropped the data. A directory without
// a valid manifest counts as absent. Every temporary directory is locked by its process; whoever opens an output
// directory next removes those that nobody holds any more.
//
//   - Store: the output directory of a run; one process at a time, many artifacts in it.
//   - Dir, File: an output being made. Nothing is visible under its name before Commit.
//   - Target: a single file or directory that a user named with -o.
//   - Scratch: checkpoints of unfinished work, kept until the artifact they lead to is published.
//   - Cache: downloads, in a layout shared with other programs; the one place for unfinished files.
//   - Verify: the other side, rehashing what is there.
package store
