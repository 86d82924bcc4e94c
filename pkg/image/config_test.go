package image

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestStopSignalsAreReadAsDockerDoes(t *testing.T) {
	s := &Store{}
	for text, want := range map[string]int{
		"": 0, "15": 15, "9": 9, "TERM": 15, "SIGTERM": 15, "sigquit": 3, "Int": 2, "SIGUSR1": 10, "WINCH": 28,
		"SIGRTMIN": 34, "SIGRTMIN+3": 37, "RTMIN+15": 49, "SIGRTMAX": 64, "SIGRTMAX-2": 62,
		"0": -1, "65": -1, "-1": -1, "SIGNONE": -1, "9abc": -1, "SIGRTMIN+31": -1, "SIGRTMAX+1": -1, "SIGRTMINx": -1,
	} {
		u, err := s.unpacked(manifest{Config: v1.Config{StopSignal: text}})
		if (err != nil) != (want < 0) || want >= 0 && u.StopSignal != want {
			t.Errorf("%q: %d, %v, want %d", text, u.StopSignal, err, want)
		}
	}
}
