//go:build linux

package compare

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/bench/stack"
)

// A measurement that fails under way waits for no profile: the turn's end ends it.
func TestProfileEndsWithTheTurn(t *testing.T) {
	asked := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	defer server.Close()
	turn := &Turn{
		comparison: &comparison{options: &Options{Profile: t.TempDir()}}, kind: &kinds[0], round: 1,
		server: &stack.Server{Admin: strings.TrimPrefix(server.URL, "http://")},
	}
	wait := turn.Profile(t.Context(), "20", 1)
	<-asked
	turn.endProfile()
	if err := wait(); err == nil {
		t.Error("half a profile is taken for one")
	}
}
