package main

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/cli/clitest"
)

func TestMain(m *testing.M) { clitest.RunMain(m, "gateway", main) }

func TestScripts(t *testing.T) { clitest.RunScripts(t, nil) }
