package main

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/cli/clitest"
)

func TestFlags(t *testing.T) { clitest.CheckFlags(t, describeApp()) }
