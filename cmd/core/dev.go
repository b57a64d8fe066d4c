package main

import "github.com/redroomrewards/realtime/internal/cli"

type devCmd struct{}

// Run is being written.
func (devCmd) Run(*cli.Env) error { return cli.Usage("", "core dev is being written") }
