package api

import "slices"

// Mount puts the routes of a dialect under a prefix. What is public at its own
// place needs a login there: the list of public routes stays short.
func (d Dialect) Mount(prefix string) Dialect {
	d.Name += " at " + prefix
	d.Routes = slices.Clone(d.Routes)
	for i := range d.Routes {
		d.Routes[i].Pattern = prefix + d.Routes[i].Pattern
		if d.Routes[i].Access == Public {
			d.Routes[i].Access = LoggedIn
		}
	}
	return d
}
