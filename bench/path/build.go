package main

import (
	"context"
	"fmt"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/stack"
)

// build is a core and a gateway that are measured together.
type build struct {
	name    string
	core    string // program
	gateway string // program
}

// Names of builds in tables.
const (
	thisBuild  = "this"
	otherBuild = "other"
)

// openBuilds compiles this build, and adds the other one if the options name it. A program that the
// options do not name is the same in both.
func openBuilds(ctx context.Context, h *harness.Harness, o *options) ([]build, error) {
	harness.Progress("building")
	this := build{name: thisBuild}
	var err error
	this.core, err = h.Build(ctx, "cmd/core")
	if err != nil {
		return nil, err
	}

	this.gateway, err = h.Build(ctx, "cmd/gateway")
	if err != nil {
		return nil, err
	}
	if !o.hasOther() {
		return []build{this}, nil
	}

	other := build{
		name:    otherBuild,
		core:    this.core,
		gateway: this.gateway,
	}
	if o.otherCore != "" {
		other.core = o.otherCore
	}
	if o.otherGateway != "" {
		other.gateway = o.otherGateway
	}

	h.Environment.Other, err = describeOther(o)
	if err != nil {
		return nil, err
	}
	return []build{this, other}, nil
}

// describeOther returns the commits of the other build's programs.
func describeOther(o *options) (string, error) {
	text := ""
	for _, program := range []struct{ name, file string }{{"core", o.otherCore}, {"gateway", o.otherGateway}} {
		if program.file == "" {
			continue
		}

		commit, err := stack.ProgramCommit(program.file)
		if err != nil {
			return "", fmt.Errorf("--other-%s: %w", program.name, err)
		}
		if text != "" {
			text += ", "
		}

		text += program.name + " " + commit
	}

	return text, nil
}
