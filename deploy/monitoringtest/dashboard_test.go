package monitoringtest_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"testing"
)

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource *struct{ UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct {
		RefID string
		Expr  string
	}
}

func TestDashboard(t *testing.T) {
	var dashboard struct {
		UID, Title    string
		SchemaVersion int
		Templating    struct{ List []struct{ Name, Type string } }
		Panels        []panel
	}
	if err := json.Unmarshal(read(t, "docs/grafana-dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := []string{"__rate_interval"}
	for _, v := range dashboard.Templating.List {
		variables = append(variables, v.Name)
	}
	if dashboard.UID == "" || dashboard.Title == "" || dashboard.SchemaVersion == 0 || len(dashboard.Panels) == 0 {
		t.Fatal("Grafana would not import it")
	}
	metrics := known(t)
	sections := map[string]bool{} // of docs/metrics.md: shown
	for _, m := range metrics {
		if m.section != "" {
			sections[m.section] = false
		}
	}
	ids := map[int]bool{}
	for i, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("%s: another panel has the id %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		for _, other := range dashboard.Panels[:i] {
			if a, b := p.GridPos, other.GridPos; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%s lies over %s", p.Title, other.Title)
			}
		}
		if p.GridPos.W < 1 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s does not fit into 24 columns", p.Title)
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource == nil || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s does not ask the chosen datasource", p.Title)
		}
		for _, q := range p.Targets {
			for _, name := range check(t, p.Title, fill(t, p.Title, q.Expr, variables), metrics) {
				sections[metrics[name].section] = true
			}
		}
	}
	for section, shown := range sections {
		if !shown {
			t.Errorf("nothing of %q is shown", section)
		}
	}
}

// fill puts values where Grafana would.
func fill(t *testing.T, where, expression string, variables []string) string {
	t.Helper()
	return regexp.MustCompile(`\$\{?(\w+)\}?`).ReplaceAllStringFunc(expression, func(use string) string {
		name := regexp.MustCompile(`\w+`).FindString(use)
		if !slices.Contains(variables, name) {
			t.Errorf("%s: there is no variable %s", where, name)
		}
		if name == "__rate_interval" {
			return "5m"
		}
		return ".*"
	})
}
