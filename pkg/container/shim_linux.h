// The word in argv[1] that makes this binary a shim, and its entry.
#define SHIM_WORD "shim"

int shim_main(void);
