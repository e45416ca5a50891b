//go:build tools

// Package components names the commands that the module is for.
package components

import _ "github.com/coredns/coredns"
