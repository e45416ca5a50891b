//go:build tools

// Package components names the commands that the module is for.
package components

import _ "sigs.k8s.io/cri-tools/cmd/crictl"
