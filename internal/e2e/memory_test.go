package e2e

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// Both programs have a GOGC of their own, which the environment can change.
func TestGarbageCollection(t *testing.T) {
	for _, tt := range []struct {
		name          string
		gogc          string
		core, gateway float64
	}{
		{"default", "", 400, 200},
		{"from the environment", "150", 150, 150},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("GOGC", tt.gogc)
			w := newWorld(t)
			if got := w.metric(w.core(), "go_gc_gogc_percent"); got != tt.core {
				t.Errorf("the core has %v, want %v", got, tt.core)
			}
			if got := w.metric(w.gateway("http://"+testenv.FreeAddr(t)), "go_gc_gogc_percent"); got != tt.gateway {
				t.Errorf("the gateway has %v, want %v", got, tt.gateway)
			}
		})
	}
}
