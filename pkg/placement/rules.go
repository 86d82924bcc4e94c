package placement

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// maxRegexp bounds the value of LIKE and UNLIKE. RE2 matches in linear time,
// so that the length bounds the cost of a match.
const maxRegexp = 1024

// maxRules bounds an app's constraints: each costs a comparison per group of
// nodes and placement.
const maxRules = 64

// RuleError says which constraint is wrong, and why.
type RuleError struct {
	Constraint int // position in the app's list; -1 is the list itself
	Rule       string
}

// Error names the constraint by its position.
func (e *RuleError) Error() string {
	if e.Constraint < 0 {
		return fmt.Sprintf("constraints: %s", e.Rule)
	}
	return fmt.Sprintf("constraint %d: %s", e.Constraint, e.Rule)
}

// Unwrap makes it a dcos.ErrInvalid.
func (e *RuleError) Unwrap() error { return dcos.ErrInvalid }

// Rules are an app's constraints, checked and compiled. They never change and
// may be shared.
type Rules struct {
	fixed   []rule // depend on the node alone: LIKE, UNLIKE, IS, CLUSTER with a value
	counted []rule // depend on where the app's instances are
	all     []dcos.Constraint
}

type rule struct {
	at    int // position in all
	field string
	op    dcos.Operator
	value string
	re    *regexp.Regexp
	n     int // of MAX_PER; of GROUP_BY, 0 is the number of values seen
}

// Compile checks constraints by marathon-api section 1.6. Its error is a
// *RuleError.
func Compile(cs []dcos.Constraint) (*Rules, error) {
	if len(cs) > maxRules {
		return nil, &RuleError{-1, fmt.Sprintf("got %d constraints, expected %d or less", len(cs), maxRules)}
	}
	r := &Rules{all: cs}
	for i, c := range cs {
		one, err := compileOne(c)
		if err != "" {
			return nil, &RuleError{i, err}
		}
		one.at = i
		if one.counts() {
			r.counted = append(r.counted, one)
		} else {
			r.fixed = append(r.fixed, one)
		}
	}
	return r, nil
}

func compileOne(c dcos.Constraint) (r rule, fault string) {
	r = rule{field: c.Field, op: c.Operator, value: c.Value}
	if c.Field == "" {
		return r, "the field must not be empty"
	}
	switch c.Operator {
	case dcos.Unique:
		if c.Value != "" {
			return r, "UNIQUE takes no value"
		}
	case dcos.Cluster:
	case dcos.GroupBy:
		if c.Value == "" || c.Value == "inf" {
			break
		}
		n, err := strconv.Atoi(c.Value)
		if err != nil || n < 1 {
			return r, fmt.Sprintf("GROUP_BY takes a number of groups of 1 or more, got %q", c.Value)
		}
		r.n = n
	case dcos.MaxPer:
		n, err := strconv.Atoi(c.Value)
		if err != nil || n < 0 {
			return r, fmt.Sprintf("MAX_PER needs a number of 0 or more, got %q", c.Value)
		}
		r.n = n
	case dcos.Like, dcos.Unlike:
		return compileRegexp(r)
	case dcos.Is:
		if strings.IndexFunc(c.Value, func(c rune) bool { return !isText(c) }) >= 0 {
			return r, fmt.Sprintf("IS needs a text of letters, digits and _/.-, got %q", c.Value)
		}
	default:
		return r, fmt.Sprintf("operator %q is unknown, expected one of: UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, MAX_PER, IS", c.Operator)
	}
	return r, ""
}

func compileRegexp(r rule) (rule, string) {
	if r.value == "" {
		return r, fmt.Sprintf("%s needs a regular expression", r.op)
	}
	if len(r.value) > maxRegexp {
		return r, fmt.Sprintf("regular expression of %d bytes, expected %d or less", len(r.value), maxRegexp)
	}
	re, err := regexp.Compile(`^(?:` + r.value + `)$`)
	if err != nil {
		return r, fmt.Sprintf("%q is not a regular expression (RE2): %v", r.value, err)
	}
	r.re = re
	return r, ""
}

func isText(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_/.-", c)
}

// counts says that the rule looks at the app's other instances.
func (r *rule) counts() bool {
	switch r.op {
	case dcos.Unique, dcos.GroupBy, dcos.MaxPer:
		return true
	case dcos.Cluster:
		return r.value == ""
	}
	return false
}

// allows answers a rule that does not count. A node without the field fails
// every rule but UNLIKE.
func (r *rule) allows(value string, has bool) bool {
	if !has {
		return r.op == dcos.Unlike
	}
	switch r.op {
	case dcos.Like:
		return r.re.MatchString(value)
	case dcos.Unlike:
		return !r.re.MatchString(value)
	case dcos.Is:
		return sameValue(value, r.value)
	}
	return value == r.value
}

// sameValue compares texts, and numbers by their first three decimals.
func sameValue(a, b string) bool {
	if a == b {
		return true
	}
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err1 == nil && err2 == nil && math.RoundToEven(x*1000) == math.RoundToEven(y*1000)
}

// tally is how often each value of a counted rule's field is in use.
type tally struct {
	rule   *rule
	cells  []int32 // instances by value
	pin    int32   // the value that CLUSTER holds to; -1 for none yet
	used   int     // values with a count
	over   int     // values above the even share
	groups int     // n of GROUP_BY
	live   int     // values on nodes that are not lost
	wanted int
}

// newTally starts a tally over a column of which live values are seen on nodes
// that are not lost.
func newTally(r *rule, wanted, values, live int) *tally {
	t := &tally{rule: r, cells: make([]int32, values), pin: -1, wanted: wanted, groups: r.n, live: live}
	if t.groups == 0 {
		t.groups = max(live, 1)
	}
	return t
}

// add counts one more instance on a node with that value.
func (t *tally) add(value int32) {
	if value < 0 {
		return
	}
	t.cells[value]++
	c := int(t.cells[value])
	if c == 1 {
		t.used++
	}
	if c == t.wanted/t.groups+1 {
		t.over++
	}
	if t.pin < 0 {
		t.pin = value
	}
}

// allows says whether one more instance may go to a node with that value. As
// instances are only added, a value refused once stays refused.
func (t *tally) allows(value int32) bool {
	if value < 0 {
		return false
	}
	c := int(t.cells[value])
	switch t.rule.op {
	case dcos.Unique:
		return c == 0
	case dcos.MaxPer:
		return c < t.rule.n
	case dcos.Cluster:
		return t.pin < 0 || t.pin == value
	}
	if c == 0 {
		return t.used < t.groups
	}
	share := t.wanted / t.groups
	return c < share || c == share && t.over < t.wanted%t.groups
}
