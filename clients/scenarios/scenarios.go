// Package scenarios has the files that say what every client must do. The README describes them.
package scenarios

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/script"
)

//go:embed *.json shared/*.json
var files embed.FS

// Load reads all scenarios.
func Load() ([]script.Scenario, error) {
	return script.Load(files)
}

// ClientFeatures returns the features of each client of this project.
func ClientFeatures() (map[string][]string, error) {
	text, err := files.ReadFile("shared/clients.json")
	if err != nil {
		return nil, err
	}
	var clients map[string][]string
	err = json.Unmarshal(text, &clients)
	return clients, err
}

// CheckFeatures compares the features of a client of this project with shared/clients.json. A client
// that loses a feature would skip scenarios. Other clients may have any features.
func CheckFeatures(client string, features []string) error {
	clients, err := ClientFeatures()
	if err != nil {
		return err
	}
	want, known := clients[client]
	if known && !slices.Equal(want, features) {
		return fmt.Errorf("the features of %s must be %q (shared/clients.json), and are %q", client, want, features)
	}
	return nil
}
