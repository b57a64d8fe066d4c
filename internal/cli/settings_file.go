package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// A settingsFile is a YAML file with settings. Its keys are names of flags. A key at the top level is
// for all commands that have the flag. The name of a command is the key of a section for this command
// alone.
type settingsFile struct {
	name string
	root section
}

type section struct {
	values   map[string]fileValue
	sections map[string]*section
}

type fileValue struct {
	value any // as kong takes it
	line  int
}

// likeTag names a command whose section a command uses as well, such as core doctor that of serve.
const likeTag = "like"

// find returns the value for a flag of a command. The innermost section that has the flag counts.
func (f *settingsFile) find(command *kong.Node, flag string) given {
	commands := listCommands(command)
	found := f.findInSections(commands, flag)
	if command == nil || !command.Tag.Has(likeTag) || found.depth > 0 {
		return found
	}
	like := f.findInSections([]string{commands[0], command.Tag.Get(likeTag)}, flag)
	if like.value != nil {
		return like
	}
	return found
}

// findInSections looks a flag up at the top level and in the sections of nested commands.
func (f *settingsFile) findInSections(commands []string, flag string) given {
	var found given
	s := &f.root
	for depth, name := range commands {
		if depth > 0 {
			s = s.sections[name]
		}
		if s == nil {
			break
		}
		v, ok := s.values[flag]
		if ok {
			source := fmt.Sprintf("%s:%d", f.name, v.line)
			found = given{value: v.value, layer: layerFile, depth: depth, name: source}
		}
	}
	return found
}

// listCommands returns the names of the program and of the commands down to a node.
func listCommands(node *kong.Node) []string {
	if node == nil {
		return nil
	}
	return append(listCommands(node.Parent), node.Name)
}

// parseSettings parses a file and checks all of it, whichever command is called. The errors name the
// lines.
func parseSettings(program *kong.Node, name string, content []byte) (*settingsFile, error) {
	f := &settingsFile{name: filepath.Clean(name)}
	p := &settingsParser{file: f.name}
	document, err := p.decode(content)
	if err != nil {
		return nil, err
	}
	if document != nil {
		f.root = p.parseSection(program, "", document)
	}
	if len(p.problems) > 0 {
		return nil, Usage("", "%v", errors.Join(p.problems...))
	}
	return f, nil
}

// A settingsParser gathers all problems of a file, so that one look at the errors is enough.
type settingsParser struct {
	file     string
	problems []error
}

func (p *settingsParser) report(node *yaml.Node, format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("%s:%d: %s", p.file, node.Line, fmt.Sprintf(format, args...)))
}

// yamlLine matches the position in an error of the YAML library.
var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// decode returns the content of the only document, or nil if the file is empty.
func (p *settingsParser) decode(content []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil //nolint:nilnil // an empty file is valid
	}
	if err != nil {
		text := yamlLine.ReplaceAllString(err.Error(), "$1: ")
		return nil, Usage("", "%s:%s", p.file, text)
	}
	var second yaml.Node
	if !errors.Is(decoder.Decode(&second), io.EOF) {
		return nil, Usage("", "%s: must have one YAML document only", p.file)
	}
	root := document.Content[0]
	return root, nil
}

// isNull reports whether a node has no content but comments.
func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// parseSection parses the mapping of a command, or of the top level, where name is empty.
func (p *settingsParser) parseSection(command *kong.Node, name string, node *yaml.Node) section {
	s := section{values: map[string]fileValue{}, sections: map[string]*section{}}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if isNull(node) {
		return s
	}
	if node.Kind != yaml.MappingNode {
		p.report(node, "%s must have flags and their values, such as http: 127.0.0.1:8080", describeSection(name))
		return s
	}

	flags := settingsBelow(command)
	lines := map[string]int{}
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		earlier, isRepeated := lines[key.Value]
		if isRepeated {
			p.report(key, "%s must be given once; it is also in line %d", key.Value, earlier)
			continue
		}
		lines[key.Value] = key.Line

		child := findCommand(command, key.Value)
		flag := findFlag(flags, key.Value)
		switch {
		case child != nil && len(settingsBelow(child)) > 0:
			parsed := p.parseSection(child, key.Value, value)
			s.sections[key.Value] = &parsed
		case flag != nil:
			v, err := parseValue(flag, value)
			if err != nil {
				p.report(value, "%s %v", flag.Name, err)
				continue
			}
			s.values[flag.Name] = fileValue{value: v, line: key.Line}
		default:
			p.report(key, "%s", explainUnknownKey(command, name, key.Value))
		}
	}
	return s
}

func describeSection(name string) string {
	if name == "" {
		return "the file"
	}
	return name
}

// explainUnknownKey returns the error for a key that is neither a setting nor a command.
func explainUnknownKey(command *kong.Node, section, key string) string {
	flag := findFlag(flagsBelow(command), key)
	if flag != nil && flag.Name == configFlag {
		return "a file cannot name another file"
	}
	if flag != nil {
		return fmt.Sprintf("--%s can be given on the command line only", key)
	}

	var names []string
	for _, flag := range settingsBelow(command) {
		names = append(names, flag.Name)
	}
	for _, child := range command.Children {
		if len(settingsBelow(child)) > 0 {
			names = append(names, child.Name)
		}
	}
	text := fmt.Sprintf("%q is not a flag or a command", key)
	if section != "" {
		text = fmt.Sprintf("%q is not a flag of %s", key, section)
	}
	nearest := nearestName(key, names)
	if nearest != "" {
		text += fmt.Sprintf(", did you mean %q?", nearest)
	}
	return text
}

func findCommand(parent *kong.Node, name string) *kong.Node {
	for _, child := range parent.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// flagsBelow returns the flags of a command and of the commands below it.
func flagsBelow(command *kong.Node) []*kong.Flag {
	flags := command.Flags
	for _, child := range command.Children {
		flags = append(flags[:len(flags):len(flags)], flagsBelow(child)...)
	}
	return flags
}

// settingsBelow returns the flags of a command, and of the commands below it, that a file may have.
func settingsBelow(command *kong.Node) []*kong.Flag {
	var settings []*kong.Flag
	for _, flag := range flagsBelow(command) {
		if isSetting(flag) {
			settings = append(settings, flag)
		}
	}
	return settings
}
