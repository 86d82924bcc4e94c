package bench

import (
	_ "embed"
	"fmt"

	"sigs.k8s.io/yaml"
)

//go:embed budgets.yaml
var budgetFile []byte

// Budget is what a row is held against.
type Budget struct {
	Name    string   `json:"name"`
	What    string   `json:"what"`
	Unit    string   `json:"unit"`
	AtMost  *float64 `json:"atMost"`
	AtLeast *float64 `json:"atLeast"`
	// Budget is "none" where there is neither bound.
	Budget string `json:"budget"`
}

// Budgets are all rows in the order in which they are printed.
func Budgets() ([]Budget, error) { return parseBudgets(budgetFile) }

func parseBudgets(text []byte) ([]Budget, error) {
	var doc struct {
		Rows []Budget `json:"rows"`
	}
	if err := yaml.UnmarshalStrict(text, &doc); err != nil {
		return nil, fmt.Errorf("read the budgets: %w", err)
	}
	seen := map[string]bool{}
	for _, b := range doc.Rows {
		bounds := 0
		for _, there := range []bool{b.AtMost != nil, b.AtLeast != nil, b.Budget == "none"} {
			if there {
				bounds++
			}
		}
		switch {
		case b.Name == "" || b.What == "" || b.Unit == "":
			return nil, fmt.Errorf("budget %q: a row needs name, what and unit", b.Name)
		case seen[b.Name]:
			return nil, fmt.Errorf("budget %q: there are two", b.Name)
		case bounds != 1:
			return nil, fmt.Errorf("budget %q: give one of atMost, atLeast and budget: none", b.Name)
		}
		seen[b.Name] = true
	}
	return doc.Rows, nil
}

// bound is the budget's number; nil for none.
func (b Budget) bound() *float64 {
	if b.AtMost != nil {
		return b.AtMost
	}
	return b.AtLeast
}

// keeps says whether a value is within the budget; nil when there is none.
func (b Budget) keeps(value float64) *bool {
	var ok bool
	switch {
	case b.AtMost != nil:
		ok = value <= *b.AtMost
	case b.AtLeast != nil:
		ok = value >= *b.AtLeast
	default:
		return nil
	}
	return &ok
}
