// Package config is the one list of everything about dcos that can be set.
//
// It owns every key of the configuration: its name, type, default, check and
// documentation, and the facts that the build stamps into the binary. It
// promises that a Config it returns is complete and valid, and that an unknown
// key is an error that names the key. It is pure: it must not read files,
// flags or the environment; its caller hands their contents in.
package config

// Version, Commit and Date say which build this is. The linker sets them and
// nothing changes them afterwards. Version is the nearest release tag, or the
// version under development when the tree has no tag; Commit and Date are
// those of the last commit, so that one commit always gives the same bytes.
var (
	Version = "0.2.0-dev"
	Commit  = "unknown"
	Date    = "unknown"
)

// FeatureLevel is the newest level of commands and formats that this build
// understands. A cluster raises its own level only once every master's build
// supports it, and no build reads state that is above its FeatureLevel.
//
//	1  0.1.0
//	2  0.2.0: roles, quotas, reservations, volumes, and what else names it
const FeatureLevel = 2
