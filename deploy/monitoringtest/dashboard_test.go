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

type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct{ List []struct{ Name, Type string } }
	Panels        []panel
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	err := json.Unmarshal(readFile(t, "docs/grafana-dashboard.json"), &d)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDashboardShowsEveryMetric(t *testing.T) {
	dashboard := readDashboard(t)
	variables := []string{"__rate_interval"}
	for _, v := range dashboard.Templating.List {
		variables = append(variables, v.Name)
	}
	if dashboard.UID == "" || dashboard.Title == "" || dashboard.SchemaVersion == 0 {
		t.Fatal("the dashboard must have uid, title and schemaVersion")
	}
	if len(dashboard.Panels) == 0 {
		t.Fatal("the dashboard must have panels")
	}
	metrics := knownMetrics(t)
	shown := map[string]bool{}
	ids := map[int]bool{}
	for i, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("%s: the id %d must be unique", p.Title, p.ID)
		}
		ids[p.ID] = true
		for _, other := range dashboard.Panels[:i] {
			a := p.GridPos
			b := other.GridPos
			overlapX := a.X < b.X+b.W && b.X < a.X+a.W
			overlapY := a.Y < b.Y+b.H && b.Y < a.Y+a.H
			if overlapX && overlapY {
				t.Errorf("%s and %s must not overlap", p.Title, other.Title)
			}
		}
		if p.GridPos.W < 1 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s must fit into 24 columns", p.Title)
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource == nil || p.Datasource.UID != "${datasource}" {
			t.Errorf("%s must use the datasource ${datasource}", p.Title)
		}
		if len(p.Targets) == 0 {
			t.Errorf("%s must have a target", p.Title)
		}
		for _, q := range p.Targets {
			for _, name := range checkExpression(t, p.Title, fillVariables(t, p.Title, q.Expr, variables), metrics) {
				shown[name] = true
			}
		}
	}
	for name, m := range metrics {
		if m.section != "" && !shown[name] {
			t.Errorf("the dashboard must show %s", name)
		}
	}
}

// fillVariables replaces the variables in an expression, as Grafana does.
func fillVariables(t *testing.T, where, expression string, variables []string) string {
	t.Helper()
	return regexp.MustCompile(`\$\{?(\w+)\}?`).ReplaceAllStringFunc(expression, func(use string) string {
		name := regexp.MustCompile(`\w+`).FindString(use)
		if !slices.Contains(variables, name) {
			t.Errorf("%s: unknown variable %s", where, name)
		}
		if name == "__rate_interval" {
			return "5m"
		}
		return ".*"
	})
}
