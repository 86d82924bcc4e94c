// Package resource is the algebra of resources: what a machine has, what a
// task needs, and what is left.
//
// It owns scalars with three decimals, port ranges and sets of both. It
// promises exact arithmetic: adding and taking away the same amount gives the
// same set back, on every machine alike. It must not know about nodes, roles'
// policies or tasks, and it never rounds silently.
package resource

import (
	"fmt"
	"math"
	"strconv"
)

// Scalar is an amount with three decimals, kept as thousandths: 1500 is 1.5
// CPUs or 1.5 MiB. Mesos rounds resources in the same way.
type Scalar int64

// MaxScalar bounds one amount, so that the sum of many never overflows.
const MaxScalar Scalar = 1_000_000_000_000

// FromFloat turns a number from outside into a Scalar, rounding to three
// decimals. It refuses NaN, infinities, negative and absurdly large numbers.
func FromFloat(f float64) (Scalar, error) {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return 0, fmt.Errorf("%v is not a finite number", f)
	case f < 0:
		return 0, fmt.Errorf("got %v, expected 0 or more", f)
	case f > float64(MaxScalar)/1000:
		return 0, fmt.Errorf("got %v, expected %d or less", f, MaxScalar/1000)
	}
	return Scalar(math.Round(f * 1000)), nil
}

// Whole is n units as a Scalar.
func Whole(n int64) Scalar { return Scalar(n * 1000) }

// Float is the amount as a number for JSON.
func (s Scalar) Float() float64 { return float64(s) / 1000 }

// String prints the amount without trailing zeros: "1.5", "128".
func (s Scalar) String() string {
	return strconv.FormatFloat(s.Float(), 'f', -1, 64)
}
