package sim

import (
	crand "crypto/rand"
	"io"
)

// SeedJitter makes raft's election jitter follow a seed, until restore is
// called. It changes crypto/rand.Reader for the whole process, so that nothing
// but a simulation may run there.
func SeedJitter(seed uint64) (restore func()) {
	before := crand.Reader
	crand.Reader = &jitter{chance{seed ^ 0x6a17e4}}
	return func() { crand.Reader = before }
}

type jitter struct{ c chance }

var _ io.Reader = (*jitter)(nil)

// Read fills p; it never fails.
func (j *jitter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(j.c.next())
	}
	return len(p), nil
}

// Seeded runs one seed with its jitter.
func Seeded(r Run) Outcome {
	defer SeedJitter(r.Seed)()
	return Do(r)
}
