package state

import (
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Copying a tree writes to its head, which the readers of a view share.
func TestAForkSharesNoTreeHeadWithTheView(t *testing.T) {
	t.Parallel()
	from := newTables()
	before := *from
	heads := map[string]string{}
	for i := range reflect.TypeOf(before).NumField() {
		if f := reflect.ValueOf(from).Elem().Field(i); f.Kind() == reflect.Pointer {
			heads[reflect.TypeOf(before).Field(i).Name] = fmt.Sprintf("%+v", f.Elem())
		}
	}
	a, b := reflect.ValueOf(from).Elem(), reflect.ValueOf(from.fork()).Elem()
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		if f := a.Field(i); f.Kind() == reflect.Pointer && heads[name] != fmt.Sprintf("%+v", f.Elem()) {
			t.Errorf("field %s of the view was written to: add it to fork", name)
		}
	}
	for i := range a.NumField() {
		if f := a.Field(i); f.Kind() == reflect.Pointer && f.Pointer() == b.Field(i).Pointer() {
			t.Errorf("field %s is shared: add it to fork", a.Type().Field(i).Name)
		}
	}
}

func TestATrialAnswersLikeTheCommandAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := New()
	v := s.View()
	hash, index := v.Hash(), v.Index()
	app := dcos.App{ID: "/a", Cmd: "x", Instances: 2}
	var all sync.WaitGroup
	for range 4 { // trials of one view may run at once
		all.Go(func() {
			after, res, changes := v.Try(1000, PutApp{App: app})
			if res.Err() != nil || len(changes) == 0 {
				t.Errorf("trial: %v, %d changes", res.Err(), len(changes))
				return
			}
			if _, ok := after.App("/a"); !ok {
				t.Error("the view after the trial does not show the app")
			}
			again, res, _ := after.Try(1000, PutApp{App: app, Mode: PutCreate}, AddTasks{App: "/a", Version: res.Items[0].Version, Count: 2})
			if res.Items[0].Err == nil || res.Items[1].Err != nil {
				t.Errorf("a second trial goes on from the first: got %+v", res.Items)
			}
			if again.Waiting("/a") != 2 || after.Waiting("/a") != 0 {
				t.Errorf("waiting %d after the second trial, %d after the first", again.Waiting("/a"), after.Waiting("/a"))
			}
		})
	}
	all.Wait()
	if _, ok := v.App("/a"); ok || v.Hash() != hash || s.View().Index() != index {
		t.Error("a trial changed the view")
	}
}
