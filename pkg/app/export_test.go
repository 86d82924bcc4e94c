package app

import (
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// ReconcileAll is Reconcile by a look at every instance.
var ReconcileAll = reconcileAll

// ByCounts says whether Reconcile does without that.
func ByCounts(v state.View, row *state.AppRow, now dcos.Time) bool {
	c := countedCensus(v, row, now)
	if c == nil {
		return false
	}
	c.decide()
	return !c.choose
}
