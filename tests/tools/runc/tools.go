//go:build tools

// Package tools names the command that tests/tools/build makes, so that go.sum covers it.
package tools

import (
	_ "github.com/opencontainers/runc"
)
