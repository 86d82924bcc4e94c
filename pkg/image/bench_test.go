package image

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// BenchmarkPull brings an image of 100 MB, as it is sent, from loopback and
// unpacks it: 1 layer of text and noise, or 4. The budget is 4 s.
func BenchmarkPull(b *testing.B) {
	for _, layers := range []int{1, 4} {
		b.Run(fmt.Sprintf("%d layers", layers), func(b *testing.B) {
			reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(b.TempDir()))))
			defer reg.Close()
			var all []v1.Layer
			var sent int64
			for i := range layers {
				l := benchLayer(b, i, 100<<20/layers)
				n, err := l.Size()
				if err != nil {
					b.Fatal(err)
				}
				sent += n
				all = append(all, l)
			}
			ref, err := name.ParseReference(reg.Listener.Addr().String()+"/bench/image:1", name.Insecure)
			if err == nil {
				err = remote.Write(ref, imageOf(b, runtime.GOARCH, v1.Config{}, all...))
			}
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(sent)/1e6, "MB-sent")
			for b.Loop() {
				dir := b.TempDir()
				s, err := New(Config{Dir: dir})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Ensure(b.Context(), "", ref.Name(), false); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := os.RemoveAll(dir); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// benchLayer is as large, as it is sent, as asked for, and about twice that
// unpacked: half of each file is noise, the rest are zeros.
func benchLayer(b *testing.B, n, size int) v1.Layer {
	b.Helper()
	const each = 64 << 10
	var files []file
	for i := range size / each {
		files = append(files, file{name: fmt.Sprintf("d%d/f%d.%d", i%50, n, i), body: noise(each-i%7) + string(make([]byte, each))})
	}
	return layer(b, files...)
}
