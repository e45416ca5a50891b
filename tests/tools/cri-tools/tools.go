//go:build tools

// Package tools names the commands that tests/tools/build makes, so that go.sum covers them.
// The three packages under pkg/ are what critest's test binary imports.
package tools

import (
	_ "sigs.k8s.io/cri-tools/cmd/crictl"
	_ "sigs.k8s.io/cri-tools/pkg/benchmark"
	_ "sigs.k8s.io/cri-tools/pkg/framework"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
