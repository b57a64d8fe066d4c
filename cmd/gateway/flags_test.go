package main

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/cli/clitest"
)

// A variable that another program uses, or that an earlier command needed, must not change a command.
func TestVariablesOfAllFlags(t *testing.T) {
	clitest.CheckVariables(t, describeApp())
}

// The file is an example to copy, so each of its keys must be known.
func TestExampleOfSettings(t *testing.T) {
	clitest.CheckExample(t, describeApp(), "../../deploy/gateway.yaml")
}

func TestReferenceOfFlags(t *testing.T) {
	clitest.CheckReference(t, describeApp(), "../../docs/configuration.md")
	clitest.CheckVariableList(t, describeApp(), "../../internal/cli/variables/gateway.txt")
}

func TestCompletion(t *testing.T) {
	clitest.CheckCompletion(t, describeApp())
}

func TestHelpOfFlags(t *testing.T) {
	clitest.CheckHelp(t, describeApp())
}
