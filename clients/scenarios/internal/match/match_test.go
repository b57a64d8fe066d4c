package match_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/match"
)

func TestCompare(t *testing.T) {
	for _, test := range []struct {
		name, expected, actual string
		err                    string // part of the error; empty: there is none
	}{
		{"equal", `{"a": 1, "b": ["x", true]}`, `{"a": 1, "b": ["x", true]}`, ""},
		{"further members", `{"a": 1}`, `{"a": 1, "b": 2}`, ""},
		{"another number", `{"a": 1}`, `{"a": 2}`, ".a must be 1, and is 2"},
		{"another type", `{"a": 1}`, `{"a": "1"}`, ".a must be 1"},
		{"a missing member", `{"a": {"b": 1}}`, `{"a": {}}`, ".a.b must be 1, and is absent"},
		{"null is not absent", `{"a": {"$absent": true}}`, `{"a": null}`, ".a must be absent"},
		{"absent", `{"a": {"$absent": true}}`, `{"b": 1}`, ""},
		{"another length", `[1]`, `[1, 2]`, "the value must be [1]"},
		{"an element", `[1, {"a": 2}]`, `[1, {"a": 3}]`, "[1].a must be 2"},
		{"exact", `{"$exact": {"a": 1}}`, `{"a": 1, "b": 2}`, ".b must be absent"},
		{"exact is for all levels", `{"$exact": {"a": {}}}`, `{"a": {"b": 2}}`, ".a.b must be absent"},
		{"between", `{"$between": [0, 5]}`, `5`, ""},
		{"not between", `{"$between": [0, 5]}`, `5.5`, "must be between 0 and 5"},
		{"a text is not between", `{"$between": [0, 5]}`, `"3"`, "must be between"},
		{"in", `{"$in": ["a", "b"]}`, `"b"`, ""},
		{"not in", `{"$in": ["a", "b"]}`, `"c"`, "must be one of"},
		{"matches", `{"$matches": "^a.c$"}`, `"abc"`, ""},
		{"does not match", `{"$matches": "^a.c$"}`, `"abcd"`, "must match"},
		{"any", `{"a": {"$any": true}}`, `{"a": null}`, ""},
		{"any must be there", `{"a": {"$any": true}}`, `{}`, "is absent"},
		{"unknown operator", `{"$near": 1}`, `1`, "$near is unknown"},
		{"the same variable twice", `["$s", "$s"]`, `["x", "x"]`, ""},
		{"one variable with two values", `["$s", "$s"]`, `["x", "y"]`, `must be "x" ($s), and is "y"`},
		{"a variable is a text", `"$s"`, `1`, "must be"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := match.Compare(parse(t, test.expected), parse(t, test.actual), match.Vars{})
			switch {
			case test.err == "" && err != nil:
				t.Error(err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("error: got %v, want one with %q", err, test.err)
			}
		})
	}
}

// An expectation that does not match must not set variables.
func TestCompareKeepsVariables(t *testing.T) {
	vars := match.Vars{}
	err := match.Compare(parse(t, `{"a": "$s", "b": 1}`), parse(t, `{"a": "x", "b": 2}`), vars)
	if err == nil || len(vars) != 0 {
		t.Errorf("got %v and the variables %v, want an error and none", err, vars)
	}
}

func TestFill(t *testing.T) {
	filled, err := match.Fill(parse(t, `{"a": ["$s", 1]}`), match.Vars{"$s": "x"})
	if err != nil || match.Text(filled) != `{"a":["x",1]}` {
		t.Errorf("got %s and %v", match.Text(filled), err)
	}
	_, err = match.Fill("$t", match.Vars{"$s": "x"})
	if err == nil {
		t.Error("a variable without a value must be an error")
	}
}

func parse(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
