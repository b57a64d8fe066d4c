package testenv_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// recorder is a testing.TB that notes how a test ended.
type recorder struct {
	testing.TB
	fatal string
}

// stop is what a recorder's Fatal panics with: unlike runtime.Goexit, it can be stopped within the same goroutine.
type stop struct{}

func (r *recorder) Helper() {}

func (r *recorder) Fatal(args ...any) {
	r.fatal = fmt.Sprint(args...)
	panic(stop{})
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.fatal = fmt.Sprintf(format, args...)
	panic(stop{})
}

// fatalOf returns the message with which use ended its test, "" when it did not.
func fatalOf(t *testing.T, use func(t testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != (stop{}) {
				panic(p)
			}
		}()
		use(r)
	}()
	return r.fatal
}

func TestMissingServerFailsAndSaysWhatToRun(t *testing.T) {
	t.Setenv("TEST_DATABASE_URL", "")
	t.Setenv("TEST_REDIS_URL", "")
	t.Setenv("TEST_REDIS_SERVER", "")
	t.Setenv("PATH", t.TempDir())
	for name, use := range map[string]func(testing.TB){
		"TEST_DATABASE_URL": func(t testing.TB) { testenv.Postgres(t, testenv.Schema{}) },
		"TEST_REDIS_URL":    func(t testing.TB) { testenv.Redis(t) },
		"TEST_REDIS_SERVER": func(t testing.TB) { testenv.RedisServer(t) },
	} {
		t.Run(name, func(t *testing.T) {
			message := fatalOf(t, use)
			if !strings.Contains(message, name) || !strings.Contains(message, "./scripts/test") {
				t.Errorf("ended with %q; want it to name %s and ./scripts/test", message, name)
			}
		})
	}
}
