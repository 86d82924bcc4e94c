package bench

import (
	"errors"
	"testing"
)

func testDisk(t *testing.T) *disk {
	t.Helper()
	d, err := openDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestDiskKeepsWhatWasSyncedAndForgetsTheRest(t *testing.T) {
	t.Parallel()
	d := testDisk(t)
	f, err := d.Create("log.tmp")
	must(t, err)
	write := func(text string, at int64) {
		t.Helper()
		_, err := f.WriteAt([]byte(text), at)
		must(t, err)
	}
	write("kept", 0)
	must(t, f.Sync(), d.Rename("log.tmp", "log"), d.SyncDir())
	write("lo", 1)   // over what is durable
	write("st!", 10) // behind it
	if fsyncs, bytes := d.counted(); fsyncs != 2 || bytes != 9 {
		t.Errorf("counted %d fsyncs and %d bytes, want 2 and 9", fsyncs, bytes)
	}
	d.cutPower()
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, errPower) {
		t.Errorf("a write without power: %v", err)
	}
	if err := f.Sync(); !errors.Is(err, errPower) {
		t.Errorf("a sync without power: %v", err)
	}
	if _, err := d.Create("other"); !errors.Is(err, errPower) {
		t.Errorf("a new file without power: %v", err)
	}
	must(t, f.Close())
	lost, err := d.forget()
	must(t, err)
	if lost != 5 {
		t.Errorf("lost %d bytes, want 5", lost)
	}
	again, err := d.Directory.Open("log")
	must(t, err)
	defer again.Close() // only read
	size, err := again.Size()
	must(t, err)
	got := make([]byte, size)
	_, err = again.ReadAt(got, 0)
	must(t, err)
	if string(got) != "k\x00\x00t" {
		t.Errorf("the disk holds %q, want what was synced with a hole", got)
	}
}
