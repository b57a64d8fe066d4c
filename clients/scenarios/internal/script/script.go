// Package script reads the scenario files. The README in clients/scenarios describes them.
package script

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// A Scenario is what one client must do and see.
type Scenario struct {
	File  string
	Name  string
	Why   string
	Needs []string
	Steps []Step
}

// A Step is one action of the server, the app or the clock, or one expectation.
type Step struct {
	Verb   string
	Value  any
	On     string // a connection
	As     string // the name of a new connection
	Source string // the step as JSON, for messages
}

// verbs are the members that say what a step does, and whether the step may have As and On.
var verbs = map[string]struct{ as, on bool }{
	"app": {}, "advance": {}, "sleep": {}, "see": {}, "get": {}, "stored": {}, "quiet": {}, "time": {},
	"accept": {as: true}, "hang": {as: true}, "stream": {as: true}, "refuse": {}, "cut": {},
	"auth": {on: true}, "expect": {on: true}, "frames": {on: true}, "send": {on: true}, "sendJoined": {on: true}, "sendText": {on: true},
	"close": {on: true}, "drop": {on: true}, "silent": {on: true}, "closed": {on: true},
}

// Load reads the scenario files of a directory, with the values and steps in its subdirectory
// shared. Names must be unique.
func Load(dir fs.FS) ([]Scenario, error) {
	lib, err := loadLibrary(dir)
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(dir, "*.json")
	if err != nil {
		return nil, err
	}
	var all []Scenario
	seen := map[string]bool{}
	for _, file := range files {
		scenarios, err := loadFile(dir, file, lib)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, s := range scenarios {
			if seen[s.Name] {
				return nil, fmt.Errorf("%s: the name %q must be unique", file, s.Name)
			}
			seen[s.Name] = true
		}
		all = append(all, scenarios...)
	}
	return all, nil
}

func loadFile(dir fs.FS, file string, lib *library) ([]Scenario, error) {
	var content struct {
		Scenarios []struct {
			Name  string           `json:"name"`
			Why   string           `json:"why"`
			Needs []string         `json:"needs"`
			Steps []map[string]any `json:"steps"`
		} `json:"scenarios"`
	}
	if err := readJSON(dir, file, &content); err != nil {
		return nil, err
	}
	var all []Scenario
	for _, c := range content.Scenarios {
		if c.Name == "" || c.Why == "" {
			return nil, fmt.Errorf("the scenario %q must have a name and a why", c.Name)
		}
		s := Scenario{File: file, Name: c.Name, Why: c.Why, Needs: c.Needs}
		raw, err := lib.expandSteps(c.Steps, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		for _, r := range raw {
			step, err := newStep(r)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			s.Steps = append(s.Steps, step)
		}
		all = append(all, s)
	}
	return all, nil
}

// newStep requires exactly one verb and no unknown member.
func newStep(raw map[string]any) (Step, error) {
	source, err := json.Marshal(raw)
	if err != nil {
		return Step{}, err
	}
	step := Step{Source: string(source)}
	for name, value := range raw {
		switch _, isVerb := verbs[name]; {
		case name == "as":
			step.As, _ = value.(string)
		case name == "on":
			step.On, _ = value.(string)
		case !isVerb:
			return Step{}, fmt.Errorf("the step %s has the unknown member %q", source, name)
		case step.Verb != "":
			return Step{}, fmt.Errorf("the step %s must do one thing", source)
		default:
			step.Verb = name
			step.Value = value
		}
	}
	verb, ok := verbs[step.Verb]
	if !ok {
		return Step{}, fmt.Errorf("the step %s must do something", source)
	}
	if step.As != "" && !verb.as {
		return Step{}, fmt.Errorf("the step %s must not have \"as\"", source)
	}
	if step.On != "" && !verb.on {
		return Step{}, fmt.Errorf("the step %s must not have \"on\"", source)
	}
	return step, nil
}

// Missing returns the features that the scenario needs and a client does not have.
func (s Scenario) Missing(features []string) []string {
	var missing []string
	for _, need := range s.Needs {
		if !slices.Contains(features, need) {
			missing = append(missing, need)
		}
	}
	return missing
}

// readJSON refuses unknown members.
func readJSON(dir fs.FS, file string, into any) error {
	data, err := fs.ReadFile(dir, file)
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
