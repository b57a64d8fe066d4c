package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder makes stages that note their end.
type recorder struct {
	mu    sync.Mutex
	ended []string
}

func (r *recorder) stage(name string, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err == nil {
			<-ctx.Done()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended = append(r.ended, name)
		return err
	}
}

func TestStopsInOrder(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var r recorder
	if err := lifecycle.Run(ctx, r.stage("http", nil), r.stage("ledger", nil), r.stage("relay", nil)); err != nil {
		t.Fatal(err)
	}
	if want := []string{"http", "ledger", "relay"}; !slices.Equal(r.ended, want) {
		t.Errorf("ended %v, want %v", r.ended, want)
	}
}

// A stage in the middle that fails stops all, and those after it still wait for
// those before it.
func TestFailureStopsAllInOrder(t *testing.T) {
	boom := errors.New("boom")
	var r recorder
	err := lifecycle.Run(t.Context(), r.stage("http", nil), r.stage("ledger", boom), r.stage("relay", nil))
	if !errors.Is(err, boom) {
		t.Errorf("error %v, want boom", err)
	}
	if i, j := slices.Index(r.ended, "http"), slices.Index(r.ended, "relay"); i < 0 || j < i {
		t.Errorf("ended %v: relay before http", r.ended)
	}
}

func TestNoStages(t *testing.T) {
	if err := lifecycle.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}
