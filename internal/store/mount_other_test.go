//go:build unix && !linux

package store

import "errors"

func mountTmpfs(string, string) error { return errors.ErrUnsupported }
func unmount(string)                  {}
