package cli

import (
	"context"

	"github.com/parelm/pare/model/hub"
)

// The verbs and recipes that take a MODEL take hf:// addresses through this.
func init() {
	resolve = func(ctx context.Context, ref string) (string, error) { return hub.FromEnv().Fetch(ctx, ref) }
}
