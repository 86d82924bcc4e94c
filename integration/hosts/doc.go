// Package hosts gives tests Linux machines: systemd as PID 1 in namespaces of
// their own, with an address, a disk that outlives a power cut, ssh, and ways
// to break them.
//
// It owns the cached root file system, one network per Net, and everything
// below a Host: its disk, its cgroups, its namespaces. It promises that a Net
// never meets another one, of this process or of any other, that cleanup
// leaves nothing behind, and that what a killed run left is removed by the
// next. It must not touch links, cgroups or namespaces that it did not make,
// and leaves the machine's sysctls as they were.
//
// What a host is not: its disk is never torn by a power cut (the page cache is
// the machine's), its kernel and clock are the machine's, and a session over
// ssh has 1,024 open files at first.
//
// Nothing here is mounted in the machine's own mount namespace, and the
// network namespaces have no names: the kernel takes them away with the last
// process. Cgroups and directories are what a killed run can leave; each Net
// holds a locked file below /run/dcos-test that names them.
package hosts
