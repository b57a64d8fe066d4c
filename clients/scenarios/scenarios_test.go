package scenarios_test

import (
	"slices"
	"testing"

	"github.com/redroomrewards/realtime/clients/scenarios"
)

// A scenario that needs a feature of no client would be played by nobody.
func TestClientsHaveTheFeaturesOfScenarios(t *testing.T) {
	all, err := scenarios.Load()
	if err != nil {
		t.Fatal(err)
	}
	clients, err := scenarios.ClientFeatures()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		played := false
		for _, features := range clients {
			played = played || len(s.Missing(features)) == 0
		}
		if !played {
			t.Errorf("%q needs %q, which no client in shared/clients.json has", s.Name, s.Needs)
		}
	}
}

// Features in shared/clients.json are compared with those that an adapter has, which are sorted.
func TestFeaturesAreSorted(t *testing.T) {
	clients, err := scenarios.ClientFeatures()
	if err != nil {
		t.Fatal(err)
	}
	for client, features := range clients {
		if !slices.IsSorted(features) {
			t.Errorf("the features of %s must be sorted: %q", client, features)
		}
	}
}
