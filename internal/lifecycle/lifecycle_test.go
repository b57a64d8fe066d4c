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

// recorder makes stages that record their end.
type recorder struct {
	mu    sync.Mutex
	ended []string
}

// newStage returns a stage that fails with err at once, or runs until its context ends if err is
// nil.
func (r *recorder) newStage(name string, err error) func(context.Context) error {
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

func TestStagesStopInOrder(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var r recorder
	err := lifecycle.Run(ctx, r.newStage("http", nil), r.newStage("ledger", nil), r.newStage("relay", nil))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"http", "ledger", "relay"}
	if !slices.Equal(r.ended, want) {
		t.Errorf("order: got %v, want %v", r.ended, want)
	}
}

// If a stage in the middle fails, all stages stop. The stages after it still wait for the stages
// before it.
func TestFailureStopsAllInOrder(t *testing.T) {
	errStage := errors.New("stage failed")
	var r recorder
	err := lifecycle.Run(t.Context(), r.newStage("http", nil), r.newStage("ledger", errStage), r.newStage("relay", nil))
	if !errors.Is(err, errStage) {
		t.Errorf("error: got %v, want %v", err, errStage)
	}
	http := slices.Index(r.ended, "http")
	relay := slices.Index(r.ended, "relay")
	if http < 0 || relay < http {
		t.Errorf("order: got %v, want http before relay", r.ended)
	}
}

func TestNoStages(t *testing.T) {
	if err := lifecycle.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}
