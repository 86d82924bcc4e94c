package container

import (
	"os"

	_ "github.com/opencontainers/cgroups/devices" // device rules need it linked
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // enters namespaces before the Go runtime starts
)

// The words in argv[1] by which a container start executes this binary again.
const (
	initWord   = "init" // libcontainer's own
	helperWord = "shim-image"
)

// Init must be the first statement of main. It returns at once, unless this
// process was started as a part of a container: then it never returns.
func Init() {
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case initWord:
		libcontainer.Init()
	case helperWord:
		os.Exit(runHelper(os.Args[2:]))
	}
}
