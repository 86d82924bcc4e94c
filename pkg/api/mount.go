package api

import "slices"

// Mount puts the routes of a dialect under a prefix.
func (d Dialect) Mount(prefix string) Dialect {
	d.Name += " at " + prefix
	d.Routes = slices.Clone(d.Routes)
	for i := range d.Routes {
		d.Routes[i].Pattern = prefix + d.Routes[i].Pattern
	}
	return d
}
