package testenv_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// recorder is a testing.TB that records the message of Fatal.
type recorder struct {
	testing.TB
	fatal string
}

// fatalPanic is the value with which a recorder's Fatal panics. Unlike runtime.Goexit, a panic can
// be recovered in the same goroutine.
type fatalPanic struct{}

func (r *recorder) Helper() {}

func (r *recorder) Fatal(args ...any) {
	r.fatal = fmt.Sprint(args...)
	panic(fatalPanic{})
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.fatal = fmt.Sprintf(format, args...)
	panic(fatalPanic{})
}

// recordFatal returns the message with which use ended its test. It is empty if use did not end it.
func recordFatal(t *testing.T, use func(t testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != (fatalPanic{}) {
				panic(p)
			}
		}()
		use(r)
	}()
	return r.fatal
}

func TestMissingServerFailsWithTheCommandToRun(t *testing.T) {
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
			message := recordFatal(t, use)
			for _, want := range []string{name, "./scripts/test"} {
				if !strings.Contains(message, want) {
					t.Errorf("message: got %q, want it to contain %s", message, want)
				}
			}
		})
	}
}
