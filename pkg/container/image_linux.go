package container

import "github.com/dcos-go/dcos/pkg/dcos"

func (r *Runtime) planImage(p *plan, dir string, s dcos.Spec) error { return nil }

func runHelper(args []string) int { return 1 }
