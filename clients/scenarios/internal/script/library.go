package script

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"strconv"
)

// maxDepth bounds how deep values and steps use others.
const maxDepth = 10

// A template is a value or a list of steps with parameters. The values of Params are defaults.
type template struct {
	Params map[string]any   `json:"params"`
	Value  any              `json:"value"`
	Steps  []map[string]any `json:"steps"`
	names  map[string]bool  // of all parameters
}

// A library has the named values and steps of the directory shared.
type library struct {
	values map[string]template
	steps  map[string]template
}

func loadLibrary(dir fs.FS) (*library, error) {
	var lib library
	if err := readJSON(dir, "shared/values.json", &lib.values); err != nil {
		return nil, fmt.Errorf("values.json: %w", err)
	}
	if err := readJSON(dir, "shared/steps.json", &lib.steps); err != nil {
		return nil, fmt.Errorf("steps.json: %w", err)
	}
	for _, templates := range []map[string]template{lib.values, lib.steps} {
		for name, t := range templates {
			names, err := t.findParameters()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			t.names = names
			templates[name] = t
		}
	}
	return &lib, nil
}

// expandSteps replaces the steps with "use" by the steps of that name, and the values in them.
func (l *library) expandSteps(steps []map[string]any, depth int) ([]map[string]any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("steps use each other more than %d levels deep", maxDepth)
	}
	var all []map[string]any
	for _, step := range steps {
		name, used := step["use"].(string)
		if !used {
			value, err := l.expandValue(step, depth)
			if err != nil {
				return nil, err
			}
			all = append(all, value.(map[string]any))
			continue
		}
		t, ok := l.steps[name]
		if !ok {
			return nil, fmt.Errorf("shared/steps.json must have %q", name)
		}
		args, err := t.arguments(name, step)
		if err != nil {
			return nil, err
		}
		var filled []map[string]any
		for _, s := range t.Steps {
			v, err := fill(s, args)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			filled = append(filled, v.(map[string]any))
		}
		expanded, err := l.expandSteps(filled, depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, expanded...)
	}
	return all, nil
}

// expandValue replaces the objects with "use" by the value of that name. The members of "with" are
// added to it.
func (l *library) expandValue(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("values use each other more than %d levels deep", maxDepth)
	}
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			expanded, err := l.expandValue(element, depth)
			if err != nil {
				return nil, err
			}
			list[i] = expanded
		}
		return list, nil
	case map[string]any:
		return l.expandObject(v, depth)
	default:
		return v, nil
	}
}

func (l *library) expandObject(v map[string]any, depth int) (any, error) {
	object := map[string]any{}
	name, used := v["use"].(string)
	if used {
		t, ok := l.values[name]
		if !ok {
			return nil, fmt.Errorf("shared/values.json must have %q", name)
		}
		args, err := t.arguments(name, v)
		if err != nil {
			return nil, err
		}
		filled, err := fill(t.Value, args)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		expanded, err := l.expandValue(filled, depth+1)
		if err != nil {
			return nil, err
		}
		members, ok := expanded.(map[string]any)
		if !ok {
			return expanded, nil
		}
		object = members
		v, _ = v["with"].(map[string]any)
	}
	for member, value := range v {
		expanded, err := l.expandValue(value, depth)
		if err != nil {
			return nil, err
		}
		object[member] = expanded
	}
	return object, nil
}

var parameter = regexp.MustCompile(`\{([a-z][A-Za-z]*)(?::(\d+))?\}`)

// arguments returns the values of the template's parameters. Parameters without a default are the
// names that only the use gives.
func (t template) arguments(name string, use map[string]any) (map[string]any, error) {
	args := map[string]any{}
	for member, value := range use {
		if member != "use" && member != "with" {
			args[member] = value
		}
	}
	for member := range args {
		if !t.names[member] {
			return nil, fmt.Errorf("%s has no parameter %q (further members are given with \"with\")", name, member)
		}
	}
	given := maps.Clone(args)
	for member, value := range t.Params {
		if _, ok := args[member]; ok {
			continue
		}
		filled, err := fill(value, given)
		if err != nil {
			return nil, fmt.Errorf("the default of %s in %s: %w", member, name, err)
		}
		args[member] = filled
	}
	return args, nil
}

// findParameters returns the names that stand as {name} in the template.
func (t template) findParameters() (map[string]bool, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, found := range parameter.FindAllStringSubmatch(string(text), -1) {
		names[found[1]] = true
	}
	return names, nil
}

// fill replaces {name} in all strings of a value. A string that is only {name} becomes the
// argument itself, with its type. {name:012} is a number with leading zeros.
func fill(v any, args map[string]any) (any, error) {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			filled, err := fill(element, args)
			if err != nil {
				return nil, err
			}
			list[i] = filled
		}
		return list, nil
	case map[string]any:
		object := map[string]any{}
		for member, value := range v {
			filled, err := fill(value, args)
			if err != nil {
				return nil, err
			}
			name, err := fillText(member, args)
			if err != nil {
				return nil, err
			}
			object[fmt.Sprint(name)] = filled
		}
		return object, nil
	case string:
		return fillText(v, args)
	default:
		return v, nil
	}
}

func fillText(text string, args map[string]any) (any, error) {
	parts := parameter.FindStringSubmatch(text)
	isOnlyParameter := len(parts) == 3 && parts[0] == text && parts[2] == ""
	if isOnlyParameter {
		arg, ok := args[parts[1]]
		if !ok {
			return nil, fmt.Errorf("the parameter %s must be given", parts[1])
		}
		return arg, nil
	}
	var failed error
	filled := parameter.ReplaceAllStringFunc(text, func(match string) string {
		p := parameter.FindStringSubmatch(match)
		arg, ok := args[p[1]]
		if !ok {
			failed = fmt.Errorf("the parameter %s must be given", p[1])
			return match
		}
		if p[2] == "" {
			return fmt.Sprint(arg)
		}
		digits, err := strconv.Atoi(p[2])
		number, isNumber := arg.(float64)
		if err != nil || !isNumber {
			failed = fmt.Errorf("the parameter %s must be a number", p[1])
			return match
		}
		return fmt.Sprintf("%0*d", digits, int64(number))
	})
	return filled, failed
}
