//go:build race

package membership

// crowd is smaller under the race detector, which cannot follow as many
// goroutines.
const crowd = 25
