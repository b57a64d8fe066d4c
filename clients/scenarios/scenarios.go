// Package scenarios has the files that say what every client must do. The README describes them.
package scenarios

import (
	"embed"
	"encoding/json"

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
