package main

import (
	"fmt"

	"github.com/redroomrewards/realtime/internal/buildinfo"
	"github.com/redroomrewards/realtime/internal/cli"
)

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(env *cli.Env) error {
	_, err := fmt.Fprintln(env.Stdout, "core", buildinfo.String())
	return err
}
