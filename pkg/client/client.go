// Package client is the Go client of a cluster's API, and holds the one
// definition of the JSON shapes that the API writes.
//
// It promises that an error wraps a kind of pkg/dcos and carries the server's
// words, that every call ends with its context, and that answers are read with
// a limit. It must not hold state beyond its connection pool, and it never
// retries a write by itself.
package client
