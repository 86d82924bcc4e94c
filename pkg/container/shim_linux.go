package container

/*
#cgo CFLAGS: -std=gnu11 -O2 -Wall -Werror
#include "shim_linux.h"
*/
import "C"

// shimWord in argv[1] makes this binary a shim; the constructor in
// shim_linux.c takes over before the Go runtime starts.
const shimWord = C.SHIM_WORD
