package main

import (
	"github.com/dcos-go/dcos/pkg/container"
	"github.com/dcos-go/dcos/pkg/fetch"
)

// takeOver hands the process to the container runtime or the fetcher when one
// of them has started it.
func takeOver() {
	container.Init()
	fetch.Init()
}
