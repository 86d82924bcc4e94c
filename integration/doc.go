// Package integration holds the black-box tests of the built binary.
//
// It owns the proof that dcos works from the outside, on real hosts with real
// software, and the data that other proofs need: levels.txt (which package may
// import which) and proof.yaml (which test shows which promise). A test here
// starts bin/dcos and talks to it as a user does. It promises to leave nothing
// behind: no process, mount, interface or file. It must not import anything of
// this module but pkg/client, because a test that reaches inside proves less
// than one that does not.
package integration
