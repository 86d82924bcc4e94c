//go:build !seccomp

package container

import "github.com/opencontainers/runtime-spec/specs-go"

func seccompSupported() bool { return false }

func seccompSpec() (*specs.LinuxSeccomp, error) { return nil, nil }

func seccompProgram() ([]byte, error) { return nil, nil }
