// Package match compares the behavior of a client with the expectations of a scenario.
package match

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Vars are the variables of a scenario: strings by their names, which begin with $.
type Vars map[string]string

// Compare returns nil if the actual value is as expected, and sets the variables that it meets for
// the first time. Otherwise it changes no variable and returns an error that names the place.
func Compare(expected, actual any, vars Vars) error {
	trial := maps.Clone(vars)
	if err := compare(expected, actual, trial, "", false); err != nil {
		return err
	}
	maps.Copy(vars, trial)
	return nil
}

func compare(expected, actual any, vars Vars, path string, exact bool) error {
	switch expected := expected.(type) {
	case map[string]any:
		if isOperator(expected) {
			return compareOperator(expected, actual, vars, path)
		}
		return compareObjects(expected, actual, vars, path, exact)
	case []any:
		return compareLists(expected, actual, vars, path, exact)
	case string:
		if strings.HasPrefix(expected, "$") {
			return compareVariable(expected, actual, vars, path)
		}
	}
	if !reflect.DeepEqual(expected, actual) {
		return mismatch(path, expected, actual)
	}
	return nil
}

func compareObjects(expected map[string]any, actual any, vars Vars, path string, exact bool) error {
	object, ok := actual.(map[string]any)
	if !ok {
		return mismatch(path, expected, actual)
	}
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		value, present := object[name]
		if isAbsent(expected[name]) {
			if present {
				return fmt.Errorf("%s must be absent, and is %s", path+"."+name, Text(value))
			}
			continue
		}
		if !present {
			return fmt.Errorf("%s must be %s, and is absent", path+"."+name, Text(expected[name]))
		}
		if err := compare(expected[name], value, vars, path+"."+name, exact); err != nil {
			return err
		}
	}
	if !exact {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if _, ok := expected[name]; !ok {
			return fmt.Errorf("%s must be absent, and is %s", path+"."+name, Text(object[name]))
		}
	}
	return nil
}

func compareLists(expected []any, actual any, vars Vars, path string, exact bool) error {
	list, ok := actual.([]any)
	if !ok || len(list) != len(expected) {
		return mismatch(path, expected, actual)
	}
	for i := range expected {
		if err := compare(expected[i], list[i], vars, fmt.Sprintf("%s[%d]", path, i), exact); err != nil {
			return err
		}
	}
	return nil
}

func compareVariable(name string, actual any, vars Vars, path string) error {
	text, ok := actual.(string)
	if !ok {
		return mismatch(path, name, actual)
	}
	value, set := vars[name]
	if !set {
		vars[name] = text
		return nil
	}
	if value != text {
		return fmt.Errorf("%s must be %q (%s), and is %q", place(path), value, name, text)
	}
	return nil
}

// isOperator tells whether an object is something like {"$between": [0, 500]}.
func isOperator(object map[string]any) bool {
	for name := range object {
		return len(object) == 1 && strings.HasPrefix(name, "$")
	}
	return false
}

func isAbsent(expected any) bool {
	object, ok := expected.(map[string]any)
	return ok && isOperator(object) && object["$absent"] == true
}

func compareOperator(operator map[string]any, actual any, vars Vars, path string) error {
	for name, argument := range operator {
		switch name {
		case "$any":
			return nil
		case "$exact":
			return compare(argument, actual, vars, path, true)
		case "$between":
			return compareBetween(argument, actual, path)
		case "$in":
			return compareIn(argument, actual, vars, path)
		case "$matches":
			return compareText(argument, actual, path)
		}
		return fmt.Errorf("%s: the operator %s is unknown here", place(path), name)
	}
	return nil
}

func compareBetween(argument, actual any, path string) error {
	bounds, _ := argument.([]any)
	if len(bounds) != 2 {
		return fmt.Errorf("%s: $between must have two numbers", place(path))
	}
	least, okLeast := bounds[0].(float64)
	most, okMost := bounds[1].(float64)
	if !okLeast || !okMost {
		return fmt.Errorf("%s: $between must have two numbers", place(path))
	}
	number, ok := actual.(float64)
	if !ok || number < least || number > most {
		return fmt.Errorf("%s must be between %v and %v, and is %s", place(path), least, most, Text(actual))
	}
	return nil
}

func compareIn(argument, actual any, vars Vars, path string) error {
	choices, _ := argument.([]any)
	for _, choice := range choices {
		if compare(choice, actual, vars, path, false) == nil {
			return nil
		}
	}
	return fmt.Errorf("%s must be one of %s, and is %s", place(path), Text(argument), Text(actual))
}

func compareText(argument, actual any, path string) error {
	pattern, err := regexp.Compile(fmt.Sprint(argument))
	if err != nil {
		return err
	}
	text, ok := actual.(string)
	if !ok || !pattern.MatchString(text) {
		return fmt.Errorf("%s must match %s, and is %s", place(path), pattern, Text(actual))
	}
	return nil
}

func mismatch(path string, expected, actual any) error {
	return fmt.Errorf("%s must be %s, and is %s", place(path), Text(expected), Text(actual))
}

func place(path string) string {
	if path == "" {
		return "the value"
	}
	return path
}

// Text returns a value as JSON.
func Text(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// Fill replaces the variables in a value that the server sends.
func Fill(v any, vars Vars) (any, error) {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			filled, err := Fill(element, vars)
			if err != nil {
				return nil, err
			}
			list[i] = filled
		}
		return list, nil
	case map[string]any:
		object := map[string]any{}
		for name, value := range v {
			filled, err := Fill(value, vars)
			if err != nil {
				return nil, err
			}
			object[name] = filled
		}
		return object, nil
	case string:
		if !strings.HasPrefix(v, "$") {
			return v, nil
		}
		value, ok := vars[v]
		if !ok {
			return nil, fmt.Errorf("the variable %s must be set by an expectation before it is sent", v)
		}
		return value, nil
	default:
		return v, nil
	}
}
