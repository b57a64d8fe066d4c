package scenarios_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/play"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/script"
)

// mutationWait is short, because most mutated scenarios wait in vain. A slow machine can only make
// them fail, as they must.
const mutationWait = 300 * time.Millisecond

// A scenario that passes although it expects something else proves nothing. Each is played with one
// expectation changed, and without something that the app or the server does, and must fail.
func TestMutatedScenariosFail(t *testing.T) {
	t.Parallel()
	suite := play.Suite{Command: []string{buildGoAdapter(t)}, Wait: mutationWait, Adapters: 12}
	var mutants []script.Scenario
	for _, s := range loadScenarios(t) {
		mutants = append(mutants, mutate(t, s)...)
	}
	played := 0
	_, _, err := suite.Run(mutants, func(r play.Result) {
		if r.Missing != nil {
			return
		}
		played++
		if r.Err == nil {
			t.Errorf("%s: must fail, and passed\n%s", r.Scenario.Name, r.Transcript)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if played < 200 {
		t.Errorf("mutants that were played: got %d, want at least 200", played)
	}
}

// mutate returns the scenario with faults, at places that depend on its name: with a changed
// expectation, and without an expectation or without something that the server does.
func mutate(t *testing.T, s script.Scenario) []script.Scenario {
	t.Helper()
	var changeable, removable []int
	for i, step := range s.Steps {
		if hasExpectation(step) {
			changeable = append(changeable, i)
		}
		if isNeeded(step) {
			removable = append(removable, i)
		}
	}
	if len(changeable) == 0 || len(removable) == 0 {
		t.Fatalf("%s: must expect something", s.Name)
	}
	return []script.Scenario{
		changeStep(t, s, pick(changeable, s.Name+" changed")),
		removeStep(s, pick(removable, s.Name+" removed")),
	}
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

func removeStep(s script.Scenario, i int) script.Scenario {
	s.Name = fmt.Sprintf("%s (without step %d, %s)", s.Name, i+1, s.Steps[i].Source)
	s.Steps = slices.Concat(s.Steps[:i], s.Steps[i+1:])
	return s
}

// changeStep changes a value in the last expectation of a step.
func changeStep(t *testing.T, s script.Scenario, i int) script.Scenario {
	t.Helper()
	steps := slices.Clone(s.Steps)
	steps[i].Value = copyValue(t, steps[i].Value)
	target := steps[i].Value
	if list, isList := target.([]any); isList {
		target = list[len(list)-1]
	}
	if !changeLeaf(target) {
		t.Fatalf("%s: the step %s must have a value that can be changed", s.Name, steps[i].Source)
	}
	s.Name = fmt.Sprintf("%s (step %d changed, %s)", s.Name, i+1, steps[i].Source)
	s.Steps = steps
	return s
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

func copyValue(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var copied any
	if err := json.Unmarshal(text, &copied); err != nil {
		t.Fatal(err)
	}
	return copied
}
