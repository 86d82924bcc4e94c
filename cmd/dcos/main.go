// Command dcos makes a set of Linux machines behave like one computer.
package main

import (
	"os"

	"github.com/dcos-go/dcos/pkg/cli"
)

func main() {
	takeOver() // returns unless this process is a part of a container's start
	os.Exit(cli.Main())
}
