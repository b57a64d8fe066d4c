//go:build linux

package compare

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/bench/stack"
)

// A measurement that fails does not wait for its profile: the end of the trial ends the profile.
func TestProfileEndsWithTheTrial(t *testing.T) {
	asked := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	defer server.Close()
	trial := &Trial{
		comparison: &comparison{options: &Options{Profile: t.TempDir()}}, kind: &kinds[0], round: 1,
		server: &stack.Server{Admin: strings.TrimPrefix(server.URL, "http://")},
	}
	wait := trial.Profile(t.Context(), "20", 1)
	<-asked
	trial.endProfile()
	if err := wait(); err == nil {
		t.Error("an incomplete profile must be an error")
	}
}
