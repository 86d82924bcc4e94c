package placement

// SetLadderLimit lets single picks climb ladders up to so many kins, whatever
// the number of nodes; 0 is as always, below 0 is never.
func (x *Index) SetLadderLimit(n int) { x.limit = n }
