package corpus

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// ReadIDs reads a file of token ids: a JSON array, or an object that holds one as token_ids. Ids must be below vocab.
func ReadIDs(path string, vocab int) ([]int32, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > limits.EvalIDs {
		return nil, tensor.Errorf(tensor.ErrTooLarge, path, "", "has %d bytes, the limit eval_ids is %d", st.Size(), limits.EvalIDs)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var ids []int32
	if json.Unmarshal(data, &ids) != nil {
		var object struct {
			IDs []int32 `json:"token_ids"`
		}
		if err := json.Unmarshal(data, &object); err != nil {
			return nil, tensor.Errorf(tensor.ErrInvalid, path, "", "is neither a JSON array of token ids nor an object with token_ids: %v", err)
		}
		ids = object.IDs
	}
	for i, id := range ids {
		if id < 0 || int(id) >= vocab {
			return nil, tensor.Errorf(tensor.ErrInvalid, path, fmt.Sprintf("token_ids[%d]", i), "is %d; the vocabulary has %d tokens", id, vocab)
		}
	}
	if len(ids) == 0 {
		return nil, tensor.Errorf(tensor.ErrInvalid, path, "token_ids", "is empty")
	}
	return ids, nil
}
