package main

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/cli/clitest"
)

// A variable that another program uses, or that an earlier command needed, must not change a command.
func TestVariablesOfAllFlags(t *testing.T) {
	clitest.CheckVariables(t, describeApp())
}
