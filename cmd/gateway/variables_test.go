package main

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/cli/clitest"
)

// A variable without the prefix, such as ACCOUNT, must not change a command.
func TestEachFlagHasAVariableWithThePrefix(t *testing.T) {
	clitest.CheckVariables(t, describeApp(), func() any { return &grammar{} })
}
