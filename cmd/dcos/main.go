// Command dcos makes a set of Linux machines behave like one computer.
package main

import (
	"fmt"

	"github.com/dcos-go/dcos/pkg/config"
)

func main() {
	fmt.Println(config.Version, config.Commit, config.Date)
}
