package script_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/script"
)

const values = `{
	"point": {"params": {"y": 7, "name": "p{x:03}"}, "value": {"x": "{x}", "y": "{y}", "name": "{name}"}},
	"line": {"value": {"from": {"use": "point", "x": "{x}"}, "to": {"use": "point", "x": 9, "y": "{x}"}}}
}`

const steps = `{
	"twice": {"params": {"ms": 5}, "steps": [{"advance": "{ms}"}, {"advance": "{ms}"}]}
}`

func TestLoadExpandsValuesAndSteps(t *testing.T) {
	got, err := load(`{"use": "twice"}, {"send": {"use": "line", "x": 1, "with": {"op": "line"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"advance":5}`,
		`{"advance":5}`,
		`{"send":{"from":{"name":"p001","x":1,"y":7},"op":"line","to":{"name":"p009","x":9,"y":1}}}`,
	}
	if len(got[0].Steps) != len(want) {
		t.Fatalf("steps: got %d, want %d", len(got[0].Steps), len(want))
	}
	for i, step := range got[0].Steps {
		if step.Source != want[i] {
			t.Errorf("step %d: got %s, want %s", i+1, step.Source, want[i])
		}
	}
}

// A misspelt step must not be a step that does nothing.
func TestLoadRefusesMistakes(t *testing.T) {
	for _, test := range []struct{ name, steps, err string }{
		{"an unknown verb", `{"sned": {}}`, `unknown member "sned"`},
		{"two verbs", `{"send": {}, "drop": true}`, "must do one thing"},
		{"no verb", `{"on": "c1"}`, "must do something"},
		{"a name for no connection", `{"send": {}, "as": "c1"}`, `must not have "as"`},
		{"a connection for no connection's verb", `{"see": [], "on": "c1"}`, `must not have "on"`},
		{"an unknown value", `{"send": {"use": "circle"}}`, `must have "circle"`},
		{"unknown steps", `{"use": "thrice"}`, `must have "thrice"`},
		{"a missing parameter", `{"send": {"use": "point"}}`, "parameter x must be given"},
		{"an unknown parameter", `{"send": {"use": "point", "x": 1, "z": 2}}`, `no parameter "z"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := load(test.steps)
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("error: got %v, want one with %q", err, test.err)
			}
		})
	}
}

func load(given string) ([]script.Scenario, error) {
	scenario := `{"scenarios": [{"name": "n", "why": "w", "steps": [` + given + `]}]}`
	return script.Load(fstest.MapFS{
		"a.json":             {Data: []byte(scenario)},
		"shared/values.json": {Data: []byte(values)},
		"shared/steps.json":  {Data: []byte(steps)},
	})
}
