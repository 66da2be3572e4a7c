// Command pare makes small language models out of large ones. See `pare help`.
package main

import (
	"os"

	"github.com/parelm/pare/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args)) }
