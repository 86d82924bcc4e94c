package node

import (
	"errors"

	"github.com/dcos-go/dcos/pkg/consensus"
	"github.com/dcos-go/dcos/pkg/journal"
)

// stays marks an error that another start would meet again.
type stays struct{ error }

// Unwrap gives the error itself.
func (s stays) Unwrap() error { return s.error }

// NeedsOperator says that a process ended for a reason that only an operator
// can mend: started again, it would end for the same.
func NeedsOperator(err error) bool {
	var s stays
	return errors.As(err, &s) || errors.Is(err, consensus.ErrRemoved) || errors.Is(err, consensus.ErrRolledBack) || errors.Is(err, journal.ErrDamaged)
}
