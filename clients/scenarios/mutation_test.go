package scenarios_test

import (
	"testing"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/mutate"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/play"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/script"
)

// Each scenario is played with one expectation changed, and without something that the app or the
// server does, and must fail. The scenarios that the Go client cannot play are mutated in the tests
// of clients/typescript.
func TestMutatedScenariosFail(t *testing.T) {
	t.Parallel()
	suite := play.Suite{Command: []string{buildGoAdapter(t)}, Wait: mutate.Wait, Adapters: 12}
	var mutants []script.Scenario
	for _, s := range loadScenarios(t) {
		of, err := mutate.Mutants(s)
		if err != nil {
			t.Fatal(err)
		}
		mutants = append(mutants, of...)
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
