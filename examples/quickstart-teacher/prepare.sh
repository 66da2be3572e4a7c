#!/bin/sh
# Makes the texts of the quickstart out of the Go standard library, which every toolchain carries:
#
#   OUT/train.txt       what the teacher learns from: the library and the toolchain, without tests and generated tables
#   OUT/quickstart.txt  a part of it that comes with pare, for calibration and distillation
#   OUT/heldout.txt     packages that neither has seen, for evaluation
#
# Documents are files without their copyright lines, parted by a line <|endoftext|>. Usage: prepare.sh [OUT]
set -eu
src=$(go env GOROOT)/src
out=${1:-corpus}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$src"

# Packages that only evaluation sees.
heldout='bufio|container/heap|container/list|container/ring|encoding/csv|encoding/hex|errors|path|sort|text/tabwriter'
# Packages that come with pare.
quickstart='bytes|encoding/xml|flag|fmt|go/ast|go/scanner|io|io/fs|log|maps|net/textproto|os/exec|path/filepath|slices|strconv|strings|sync|text/template|text/template/parse'

list() { # hand-written Go files, sorted the same everywhere
	find . -name '*.go' ! -name '*_test.go' ! -name 'z*.go' ! -name '*table*.go' ! -name '*_generated.go' \
		! -path '*/vendor/*' ! -path '*/testdata/*' ! -path './cmd/compile/internal/ssa/rewrite*' ! -path './cmd/compile/internal/ssa/opGen.go' \
		! -path './simd/*' ! -path './crypto/internal/fips140/nistec/*' ! -size +200k | sed 's|^\./||' | LC_ALL=C sort
}

join() { # documents to one stream
	while read -r file; do
		awk '!/^\/\/ (Copyright|Use of this source|license that can)/ && (text || NF) { text = 1; print }' "$file"
		echo '<|endoftext|>'
	done
}

list | grep -E "^($heldout)/[^/]*$" | join >"$out/heldout.txt"
list | grep -E "^($quickstart)/[^/]*$" | join >"$out/quickstart.txt"
list | grep -v -E "^($heldout)/[^/]*$" | join >"$out/train.txt"
