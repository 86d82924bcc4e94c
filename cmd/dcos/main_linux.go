package main

import "github.com/dcos-go/dcos/pkg/container"

// takeOver hands the process to the container runtime when that has started it.
func takeOver() { container.Init() }
