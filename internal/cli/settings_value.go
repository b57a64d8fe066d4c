package cli

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// parseValue returns the value of a flag in the form that kong takes. The errors never quote a text,
// since it may be a secret.
func parseValue(flag *kong.Flag, node *yaml.Node) (any, error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	_, isDuration := flag.Target.Interface().(time.Duration)
	switch {
	case flag.IsSlice():
		return parseList(node)
	case node.Kind != yaml.ScalarNode:
		return nil, errors.New("must be a single value")
	case isNull(node):
		return nil, errors.New("must have a value")
	case isDuration:
		return parseDuration(node)
	}
	switch flag.Target.Kind() {
	case reflect.Bool:
		return parseBool(node)
	case reflect.Int, reflect.Int64:
		return parseInt(node)
	case reflect.Float64:
		return parseFloat(node)
	case reflect.String:
		return parseText(flag, node)
	}
	return nil, fmt.Errorf("cannot be in a file, since its type is %s", flag.Target.Type())
}

func parseList(node *yaml.Node) (any, error) {
	err := errors.New("must be a list of texts, such as [a, b]")
	if node.Kind != yaml.SequenceNode {
		return nil, err
	}
	list := make([]any, len(node.Content))
	for i, item := range node.Content {
		if item.Kind != yaml.ScalarNode || item.Tag != "!!str" {
			return nil, err
		}
		list[i] = item.Value
	}
	return list, nil
}

func parseDuration(node *yaml.Node) (any, error) {
	_, err := time.ParseDuration(node.Value)
	if err != nil {
		return nil, fmt.Errorf("must be a time with a unit, such as 10s or 1m30s, got %q", node.Value)
	}
	return node.Value, nil
}

func parseBool(node *yaml.Node) (any, error) {
	var b bool
	if node.Tag != "!!bool" || node.Decode(&b) != nil {
		return nil, fmt.Errorf("must be true or false, got %q", node.Value)
	}
	return b, nil
}

func parseInt(node *yaml.Node) (any, error) {
	var n int64
	if node.Tag != "!!int" || node.Decode(&n) != nil {
		return nil, fmt.Errorf("must be a whole number, got %q", node.Value)
	}
	return strconv.FormatInt(n, 10), nil
}

func parseFloat(node *yaml.Node) (any, error) {
	var x float64
	isNumber := node.Tag == "!!int" || node.Tag == "!!float"
	if !isNumber || node.Decode(&x) != nil {
		return nil, fmt.Errorf("must be a number, got %q", node.Value)
	}
	return strconv.FormatFloat(x, 'g', -1, 64), nil
}

func parseText(flag *kong.Flag, node *yaml.Node) (any, error) {
	if node.Tag != "!!str" {
		return nil, errors.New("must be a text; put it in quotes")
	}
	if flag.Enum != "" && !slices.Contains(flag.EnumSlice(), node.Value) {
		return nil, fmt.Errorf("must be one of %s, got %q", strings.Join(flag.EnumSlice(), ", "), node.Value)
	}
	return node.Value, nil
}
