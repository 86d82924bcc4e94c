package images

import (
	"archive/tar"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// recipe is how one image is made.
type recipe struct {
	tags     []string // the first is its name here
	packages []string // Debian packages that hold the programs
	programs []string // paths in the packages; their libraries come along
	links    map[string]string
	files    []file
	applets  string // directory of links to busybox, one for each of its programs
	config   v1.Config
}

type file struct {
	name string
	mode int64
	uid  int
	kind byte // tar's type
	text string
}

func dir(name string, mode int64, uid int) file {
	return file{name: name, mode: mode, uid: uid, kind: tar.TypeDir}
}

func text(name, content string) file {
	return file{name: name, mode: 0o644, kind: tar.TypeReg, text: content}
}

func script(name, content string) file {
	return file{name: name, mode: 0o755, kind: tar.TypeReg, text: content}
}

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// skeleton is in every image: where a runtime mounts, and who root is.
func skeleton(users, groups string) []file {
	return []file{
		dir("dev", 0o755, 0), dir("etc", 0o755, 0), dir("proc", 0o755, 0), dir("root", 0o700, 0), dir("run", 0o755, 0),
		dir("sys", 0o755, 0), dir("tmp", 0o1777, 0), dir("usr", 0o755, 0), dir("var", 0o755, 0), dir("var/tmp", 0o1777, 0),
		text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"+users+"nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"),
		text("etc/group", "root:x:0:\n"+groups+"nogroup:x:65534:\n"),
		text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
		text("etc/hosts", "127.0.0.1 localhost\n"),
	}
}

var catalog = []recipe{
	{
		tags:     []string{"busybox:1", "busybox:latest"},
		packages: []string{"busybox-static"},
		programs: []string{"bin/busybox"},
		applets:  "bin",
		links:    map[string]string{"usr/bin/env": "../../bin/env"},
		files:    append(skeleton("", ""), dir("home", 0o755, 0), dir("bin", 0o755, 0), dir("usr/bin", 0o755, 0)),
		config:   v1.Config{Cmd: []string{"sh"}, Env: []string{path}},
	},
	{
		tags:     []string{"redis:7", "redis:7.0", "redis:latest"},
		packages: []string{"redis-server", "redis-tools", "busybox-static", "util-linux"},
		programs: []string{
			"usr/bin/redis-server", "usr/bin/redis-cli", "usr/bin/redis-benchmark", "usr/bin/redis-check-rdb",
			"usr/bin/redis-check-aof", "usr/bin/busybox", "usr/bin/setpriv",
		},
		applets: "usr/bin",
		links: map[string]string{
			"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
			"usr/local/bin/redis-server":    "../../bin/redis-server",
			"usr/local/bin/redis-cli":       "../../bin/redis-cli",
			"usr/local/bin/redis-benchmark": "../../bin/redis-benchmark",
			"usr/local/bin/redis-check-rdb": "../../bin/redis-check-rdb",
			"usr/local/bin/redis-check-aof": "../../bin/redis-check-aof",
			"usr/local/bin/redis-sentinel":  "../../bin/redis-server",
		},
		files: append(skeleton("redis:x:999:999::/home/redis:/bin/sh\n", "redis:x:999:\n"),
			dir("data", 0o755, 999), dir("usr/bin", 0o755, 0), dir("usr/sbin", 0o755, 0), dir("usr/local", 0o755, 0),
			dir("usr/local/bin", 0o755, 0), script("usr/local/bin/docker-entrypoint.sh", redisEntrypoint)),
		config: v1.Config{
			Entrypoint:   []string{"docker-entrypoint.sh"},
			Cmd:          []string{"redis-server"},
			Env:          []string{path},
			WorkingDir:   "/data",
			Volumes:      map[string]struct{}{"/data": {}},
			ExposedPorts: map[string]struct{}{"6379/tcp": {}},
		},
	},
}

// redisEntrypoint does what callers of the official one rely on: options alone
// mean the server, and a server that is started as root runs as redis.
const redisEntrypoint = `#!/bin/sh
set -e
case "${1:-}" in
-* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
	chown -R redis:redis . || true
	exec setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
fi
umask 077
exec "$@"
`

// Names are the references that Get knows, in order.
func Names() []string {
	all := map[string]bool{}
	for _, r := range catalog {
		for _, t := range r.tags {
			all[t] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
