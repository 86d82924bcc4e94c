package node

import "testing"

func TestAMasterRestsAfterQuietSecondsAndWorksAtOnce(t *testing.T) {
	var now tempo
	var sum uint64
	for i, step := range []struct {
		allocated        uint64
		changed, resting bool
	}{
		{1 << 30, false, false},
		{restRate, false, false},
		{restRate, true, true},
		{0, false, true},
		{restRate + 1, true, false},
		{restRate, false, false},
		{restRate + 1, false, false},
		{0, false, false},
		{0, true, true},
	} {
		sum += step.allocated
		if changed := now.look(sum); changed != step.changed || now.resting != step.resting {
			t.Errorf("look %d: changed %v, resting %v, want %+v", i, changed, now.resting, step)
		}
	}
}
