package clitest

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// A scriptCommand is a command of scripts that the package of a program adds.
type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// leakChecked runs the tests and then checks that no goroutine is left running.
type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	code := m.M.Run()
	err := goleak.Find()
	if err != nil && code == 0 {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return code
}

// RunMain is the TestMain of a program's package. Scripts can call the program by its name.
func RunMain(m *testing.M, program string, main func()) {
	testscript.Main(leakChecked{m}, map[string]func(){program: main})
}

// RunScripts runs the scripts in testdata/script. They have the given commands, and exit, which
// requires an exit code: exit 2 core serve.
func RunScripts(t *testing.T, commands map[string]scriptCommand) {
	t.Helper()
	all := map[string]scriptCommand{"exit": requireExitCode}
	for name, command := range commands {
		all[name] = command
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", os.Getenv("GORACE")) // scripts get few variables of the test
			return nil
		},
		Cmds: all,
	})
}

func requireExitCode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v: %v", args, err)
	}
	if got != want {
		ts.Fatalf("%v: exit code: got %d, want %d", args[1:], got, want)
	}
}
