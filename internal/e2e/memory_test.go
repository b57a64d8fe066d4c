package e2e

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// TestGOGCHasADefaultThatTheEnvironmentOverrides reads GOGC from the metrics of both programs.
func TestGOGCHasADefaultThatTheEnvironmentOverrides(t *testing.T) {
	for _, tc := range []struct {
		name        string
		gogc        string
		wantCore    float64
		wantGateway float64
	}{
		{"default", "", 400, 200},
		{"from the environment", "150", 150, 150},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("GOGC", tc.gogc)
			w := newWorld(t)
			core := w.startCore()
			gateway := w.startGateway("http://" + testenv.FreeAddr(t)) // no core is needed
			checkEqual(t, "GOGC of the core", w.readMetric(core, "go_gc_gogc_percent"), tc.wantCore)
			checkEqual(t, "GOGC of the gateway", w.readMetric(gateway, "go_gc_gogc_percent"), tc.wantGateway)
		})
	}
}
