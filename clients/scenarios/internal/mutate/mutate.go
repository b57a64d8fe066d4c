// Package mutate puts faults into scenarios. A scenario that passes although it expects something
// else proves nothing.
package mutate

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/script"
)

// Wait is the time limit of a mutant's expectations. It is short, because most mutants wait in vain.
// A slow machine can only make a mutant fail, as it must.
const Wait = 300 * time.Millisecond

// Mutants returns the scenario with faults, at places that depend on its name: with a changed
// expectation, and without an expectation or without something that the server does.
func Mutants(s script.Scenario) ([]script.Scenario, error) {
	var changeable, removable []int
	for i, step := range s.Steps {
		if hasExpectation(step) {
			changeable = append(changeable, i)
		}
		if isNeeded(step) && !isCutOff(s.Steps[i:]) {
			removable = append(removable, i)
		}
	}
	if len(changeable) == 0 || len(removable) == 0 {
		return nil, fmt.Errorf("%s: must expect something", s.Name)
	}
	changed, err := changeStep(s, pick(changeable, s.Name+" changed"))
	if err != nil {
		return nil, err
	}
	removed := removeStep(s, pick(removable, s.Name+" removed"))
	return []script.Scenario{changed, removed}, nil
}

// pick chooses by a hash of the text, so that each run of the test is the same.
func pick(from []int, text string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text))
	return from[int(h.Sum32()%uint32(len(from)))]
}

// hasExpectation tells whether the last expectation of a step cannot be missing.
func hasExpectation(s script.Step) bool {
	if s.Verb != "see" {
		return s.Verb == "expect"
	}
	list, _ := s.Value.([]any)
	last, _ := list[len(list)-1].(map[string]any)
	return last["optional"] == nil
}

// isNeeded tells whether a scenario cannot go on without a step. Levels can be skipped, and some
// frames change nothing.
func isNeeded(s script.Step) bool {
	switch s.Verb {
	case "expect", "close", "drop":
		return true
	case "see":
		text := s.Source
		return strings.Contains(text, `"event":`) || strings.Contains(text, `"token":`) || strings.Contains(text, `"resync":`)
	case "send":
		frame, _ := s.Value.(map[string]any)
		return frame["op"] == "token_expiring"
	}
	return false
}

// isCutOff tells whether the server ends the connection after the first step. Then it may get or
// lose the frame that the step expects.
func isCutOff(steps []script.Step) bool {
	if steps[0].Verb != "expect" || len(steps) < 2 {
		return false
	}
	next := steps[1].Verb
	return next == "close" || next == "drop" || next == "silent"
}

func removeStep(s script.Scenario, i int) script.Scenario {
	s.Name = fmt.Sprintf("%s (without step %d, %s)", s.Name, i+1, s.Steps[i].Source)
	s.Steps = slices.Concat(s.Steps[:i], s.Steps[i+1:])
	return s
}

// changeStep changes a value in the last expectation of a step.
func changeStep(s script.Scenario, i int) (script.Scenario, error) {
	steps := slices.Clone(s.Steps)
	value, err := copyValue(steps[i].Value)
	if err != nil {
		return s, err
	}
	steps[i].Value = value
	target := steps[i].Value
	if list, isList := target.([]any); isList {
		target = list[len(list)-1]
	}
	if !changeLeaf(target) {
		return s, fmt.Errorf("%s: the step %s must have a value that can be changed", s.Name, steps[i].Source)
	}
	s.Name = fmt.Sprintf("%s (step %d changed, %s)", s.Name, i+1, steps[i].Source)
	s.Steps = steps
	return s, nil
}

// changeLeaf changes a number or a text in an object. The members of operators and variables stay.
func changeLeaf(v any) bool {
	object, ok := v.(map[string]any)
	if !ok {
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		isKey := name == "as" || name == "client" || strings.HasPrefix(name, "$") && name != "$exact"
		if isKey {
			continue
		}
		switch value := object[name].(type) {
		case float64:
			object[name] = value + 1
			return true
		case string:
			if !strings.HasPrefix(value, "$") {
				object[name] = value + "x"
				return true
			}
		case map[string]any:
			if changeLeaf(value) {
				return true
			}
		}
	}
	// An expectation without any value still has its kind.
	if _, isReport := object["uncaught"]; isReport {
		object["uncaught"] = map[string]any{"message": "another"}
		return true
	}
	return false
}

func copyValue(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var copied any
	err = json.Unmarshal(text, &copied)
	return copied, err
}
