package bench

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAWordOfTheFleetFromBeforeIsNotTakenForTheNewest(t *testing.T) {
	g := &group{status: filepath.Join(t.TempDir(), "status"), fleet: &child{done: make(chan struct{})}}
	tell := func(s FleetStatus) {
		b, err := json.Marshal(s)
		if err == nil {
			err = os.WriteFile(g.status+".new", b, 0o600)
		}
		if err == nil {
			err = os.Rename(g.status+".new", g.status)
		}
		if err != nil {
			t.Error(err)
		}
	}
	tell(FleetStatus{Started: 1, At: time.Now().UnixNano()})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		every := time.NewTicker(5 * time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-stop:
				return
			case now := <-every.C:
				tell(FleetStatus{Started: 2, At: now.UnixNano()})
			}
		}
	}()
	s, err := g.agentsSince(t.Context())
	close(stop)
	<-done
	if err != nil || s.Started != 2 {
		t.Errorf("%+v, %v; want what was said since", s, err)
	}
}
