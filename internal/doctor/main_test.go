package doctor_test

import (
	"slices"
	"strings"
	"testing"

	redislog "github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/doctor"
)

func TestMain(m *testing.M) {
	redislog.Disable()
	// After several failed dials, a pool dials in the background until it notices that it was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// finding is a result that a test expects.
type finding struct {
	status   doctor.Status
	check    string
	mentions string // part of Found
}

// runArea makes the checks of an area.
func runArea(t *testing.T, area doctor.Area) []doctor.Result {
	t.Helper()
	report, err := doctor.Run(t.Context(), area)
	if err != nil {
		t.Fatal(err)
	}
	return report.Results
}

// expect requires a result among those of an area.
func (f finding) expect(t *testing.T, results []doctor.Result) {
	t.Helper()
	i := slices.IndexFunc(results, func(r doctor.Result) bool { return r.Check == f.check })
	if i < 0 {
		t.Fatalf("got no result of %s in %v", f.check, results)
	}
	got := results[i]
	if got.Status != f.status || !strings.Contains(got.Found, f.mentions) {
		t.Errorf("got %s %s: %s; want %s and %q", got.Status, got.Check, got.Found, f.status, f.mentions)
	}
	isProblem := f.status == doctor.Warn || f.status == doctor.Fail
	if isProblem && got.Docs == "" {
		t.Errorf("%s: got no link, want one", got.Check)
	}
}

// expectOnly requires that no other check than the given ones failed.
func expectOnly(t *testing.T, results []doctor.Result, failing ...string) {
	t.Helper()
	for _, r := range results {
		if r.Status == doctor.Fail && !slices.Contains(failing, r.Check) {
			t.Errorf("got %s %s: %s; want no failure", r.Status, r.Check, r.Found)
		}
	}
}
