package cli

import (
	"cmp"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// variablePrefix starts the names of the environment variables. Without it, a variable that another
// program uses, such as ACCOUNT or HTTP, would silently change a command.
const variablePrefix = "REALTIME_"

// conventionalVariables are the names that platforms and other programs use for the same setting.
// The variable with the prefix overrides them.
var conventionalVariables = map[string]string{
	"database-url":  "DATABASE_URL",
	"redis-url":     "REDIS_URL",
	"otlp-endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
}

// fileSuffix ends the name of the flag for a file with a secret. Any flag becomes a secret if its
// command has a second flag with this suffix: --core-token and --core-token-file.
const fileSuffix = "-file"

// configFlag names the file with settings.
const configFlag = "config"

// onceTag marks a flag that is for one call only, such as --account of core verify. A value that was
// left in the environment would silently change what the next call does. So these flags can be given
// on the command line only.
const onceTag = "once"

// isOnce reports whether a flag can be given on the command line only.
func isOnce(flag *kong.Flag) bool { return flag.Tag.Has(onceTag) }

// isBuiltIn reports whether kong handles a flag itself.
func isBuiltIn(flag *kong.Flag) bool { return flag.Name == "help" || flag.Name == "version" }

// hasVariable reports whether a flag has an environment variable.
func hasVariable(flag *kong.Flag) bool { return !isBuiltIn(flag) && !isOnce(flag) }

// isSetting reports whether a flag can be in a file with settings.
func isSetting(flag *kong.Flag) bool { return hasVariable(flag) && flag.Name != configFlag }

// variableOf returns the environment variable of a flag.
func variableOf(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// listVariables returns all environment variables of a flag, the strongest first.
func listVariables(flag string) []string {
	variables := []string{variableOf(flag)}
	conventional, ok := conventionalVariables[flag]
	if ok {
		variables = append(variables, conventional)
	}
	return variables
}

// A layer is a kind of source. A stronger layer overrides a weaker one.
type layer int

// The layers, the weakest first.
const (
	layerDefault layer = iota
	layerFile
	layerConventionalVariable
	layerVariable
	layerFlag
)

// A given value has been found in one of the sources.
type given struct {
	value any // as kong takes it; nil if no source has the setting
	layer layer
	depth int    // of the section in the file; a command's own section overrides the top level
	name  string // of the source, for people: --http, REALTIME_HTTP, core.yaml:3

	isContent bool // the value is the content of a file with a secret
}

// compare compares the strength of two values.
func (g given) compare(other given) int {
	return cmp.Or(cmp.Compare(g.layer, other.layer), cmp.Compare(g.depth, other.depth))
}

// sources gives flags that are not on the command line their values from environment variables, from
// the file with settings, and from files with secrets. It implements kong.Resolver. It is for one
// command line.
type sources struct {
	variables map[string]string
	file      *settingsFile // nil until a setting is looked up
	chosen    map[*kong.Flag]given
}

// newSources takes environment variables in the form NAME=value.
func newSources(environ []string) *sources {
	s := &sources{variables: map[string]string{}, chosen: map[*kong.Flag]given{}}
	for _, text := range environ {
		name, value, _ := strings.Cut(text, "=")
		s.variables[name] = value
	}
	return s
}

// Validate implements kong.Resolver.
func (*sources) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (s *sources) Resolve(command *kong.Context, node *kong.Path, flag *kong.Flag) (any, error) {
	if !hasVariable(flag) {
		return nil, nil
	}
	if s.file == nil && flag.Name != configFlag {
		file, err := s.openFile(command)
		if err != nil {
			return nil, err
		}
		s.file = file
	}

	chosen, err := s.choose(command, node.Flags, flag)
	if err != nil {
		return nil, err
	}
	s.chosen[flag] = chosen
	return chosen.value, nil
}

// choose returns the strongest value of a flag. The value of a secret can come from the file that
// its second flag names. If the secret itself is given in a stronger way, the second flag has no
// value.
func (s *sources) choose(command *kong.Context, flags []*kong.Flag, flag *kong.Flag) (given, error) {
	own := s.find(command, flag)
	fileFlag := findFlag(flags, flag.Name+fileSuffix)
	if fileFlag != nil {
		file := s.find(command, fileFlag)
		order := file.compare(own)
		switch {
		case file.value == nil || order < 0:
			return own, nil
		case order == 0 && own.value != nil:
			return given{}, Usage("", "%s and %s must not both be set", own.name, file.name)
		}
		return readSecret(file)
	}

	secretName, isFile := strings.CutSuffix(flag.Name, fileSuffix)
	secretFlag := findFlag(flags, secretName)
	if isFile && secretFlag != nil && s.find(command, secretFlag).compare(own) > 0 {
		return given{}, nil
	}
	return own, nil
}

// find looks a flag up in all sources, the strongest first.
func (s *sources) find(command *kong.Context, flag *kong.Flag) given {
	if isGiven(command, flag) {
		return given{value: command.FlagValue(flag), layer: layerFlag, name: "--" + flag.Name}
	}
	variable := variableOf(flag.Name)
	value := s.variables[variable]
	if value != "" {
		return given{value: value, layer: layerVariable, name: variable}
	}
	conventional := conventionalVariables[flag.Name]
	if conventional != "" {
		value = s.variables[conventional]
	}
	if value != "" {
		return given{value: value, layer: layerConventionalVariable, name: conventional}
	}
	if s.file == nil {
		return given{}
	}
	return s.file.find(command.Selected(), flag.Name)
}

// nameSource returns the environment variable, or the line of the file, that set the flag with which
// an error begins. It returns "" if the flag is on the command line, and if the text begins with none.
func (s *sources) nameSource(text string) string {
	name, _, _ := strings.Cut(text, ":")
	name, _, _ = strings.Cut(name, "=")
	name, _, _ = strings.Cut(name, " ")
	for flag, chosen := range s.chosen {
		if "--"+flag.Name == name && chosen.layer != layerFlag {
			return chosen.name
		}
	}
	return ""
}

// openFile reads the file that --config or its variable names. Without one, it returns an empty file.
func (s *sources) openFile(command *kong.Context) (*settingsFile, error) {
	flag := findFlag(command.Model.Flags, configFlag)
	if flag == nil {
		return &settingsFile{}, nil
	}
	from := s.find(command, flag)
	name, _ := from.value.(string)
	if name == "" {
		return &settingsFile{}, nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, Usage(from.name, "%v", err)
	}
	return parseSettings(command.Model.Node, name, content)
}

// readSecret reads a file with a secret. It drops the line break that editors put at the end.
func readSecret(file given) (given, error) {
	name, _ := file.value.(string)
	content, err := os.ReadFile(name)
	if err != nil {
		return given{}, Usage(file.name, "%v", err)
	}
	secret := strings.TrimSuffix(string(content), "\n")
	secret = strings.TrimSuffix(secret, "\r")
	if secret == "" {
		return given{}, Usage(file.name, "the file must not be empty")
	}
	file.value = secret
	file.isContent = true
	return file, nil
}

// refuseSecretsGivenTwice refuses a command line that has both a secret and the file with it.
func refuseSecretsGivenTwice(command *kong.Context) error {
	for _, node := range command.Path {
		for _, flag := range node.Flags {
			fileFlag := findFlag(node.Flags, flag.Name+fileSuffix)
			if fileFlag != nil && isGiven(command, flag) && isGiven(command, fileFlag) {
				return Usage("--"+fileFlag.Name, "must not be given together with --%s", flag.Name)
			}
		}
	}
	return nil
}

func findFlag(flags []*kong.Flag, name string) *kong.Flag {
	for _, flag := range flags {
		if flag.Name == name {
			return flag
		}
	}
	return nil
}

// isGiven reports whether a flag is on the command line.
func isGiven(command *kong.Context, flag *kong.Flag) bool {
	for _, element := range command.Path {
		if element.Flag == flag && !element.Resolved {
			return true
		}
	}
	return false
}
