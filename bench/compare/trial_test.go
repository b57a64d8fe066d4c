//go:build linux

package compare

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/bench/stack"
)

// A failed measurement must not wait for its profile.
func TestEndOfTrialCancelsProfile(t *testing.T) {
	requested := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(requested)
		<-r.Context().Done()
	}))
	defer server.Close()
	trial := &Trial{
		comparison: &comparison{options: &Options{Profile: t.TempDir()}},
		kind:       &kinds[0],
		round:      1,
		server:     &stack.Server{Admin: strings.TrimPrefix(server.URL, "http://")},
	}
	wait := trial.Profile(t.Context(), "20", 1)
	<-requested
	trial.endProfile()
	if err := wait(); err == nil {
		t.Error("got no error for an incomplete profile, want one")
	}
}
