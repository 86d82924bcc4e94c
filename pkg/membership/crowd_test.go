//go:build !race

package membership

// crowd is how many members the large tests have.
const crowd = 100
