package safetensors

import (
	"fmt"
	"strconv"

	"github.com/parelm/pare/model/internal/container"
)

// Shard is one file of a checkpoint to be written.
type Shard struct {
	File  string // model.safetensors, or model-00001-of-00003.safetensors
	Infos []Info
	Bytes int64 // of the tensors, without the header
}

// Plan distributes tensors over files of at most maxBytes bytes of tensors each, in the given order; a larger tensor
// has a file of its own. maxBytes <= 0 means one file. The names are Hugging Face's.
func Plan(infos []Info, maxBytes int64) ([]Shard, error) {
	shards := []Shard{{}}
	for _, in := range infos {
		n, err := in.bytes()
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", in.Name, err)
		}
		last := &shards[len(shards)-1]
		if maxBytes > 0 && len(last.Infos) > 0 && n > maxBytes-last.Bytes {
			shards = append(shards, Shard{})
			last = &shards[len(shards)-1]
		}
		last.Infos = append(last.Infos, in)
		last.Bytes += n
	}
	for i := range shards {
		shards[i].File = singleName
		if len(shards) > 1 {
			shards[i].File = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
	}
	return shards, nil
}

// IndexName is the file name of the index of a sharded checkpoint.
const IndexName = "model.safetensors.index.json"

// Index returns the content of the index of several shards, as Hugging Face writes it: two spaces of indentation, sorted
// names.
func Index(shards []Shard) []byte {
	file := map[string]string{}
	var total int64
	for _, s := range shards {
		total += s.Bytes
		for _, in := range s.Infos {
			file[in.Name] = s.File
		}
	}
	b := append([]byte("{\n  \"metadata\": {\n    \"total_size\": "), strconv.FormatInt(total, 10)...)
	b = append(b, "\n  },\n  \"weight_map\": {"...)
	for i, name := range sortedKeys(file) {
		if i > 0 {
			b = append(b, ',')
		}
		b = container.AppendString(append(b, "\n    "...), name)
		b = container.AppendString(append(b, ": "...), file[name])
	}
	return append(b, "\n  }\n}\n"...)
}
