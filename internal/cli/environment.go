package cli

import (
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

// environment gives flags that are not on the command line their values from environment variables
// and from files with secrets. It implements kong.Resolver.
type environment func(name string) string

// Validate implements kong.Resolver.
func (environment) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver. The sources of a flag are, in this order: the command line, the
// variable with the prefix, the conventional variable. In each of the first two, a secret can be
// given as a file.
func (getenv environment) Resolve(command *kong.Context, node *kong.Path, flag *kong.Flag) (any, error) {
	if !hasVariable(flag) {
		return nil, nil
	}

	fileFlag := findFlag(node.Flags, flag.Name+fileSuffix)
	if fileFlag != nil && isGiven(command, fileFlag) {
		file, _ := command.FlagValue(fileFlag).(string)
		return readSecret("--"+fileFlag.Name, file)
	}

	value := getenv(variableOf(flag.Name))
	if fileFlag != nil {
		variable := variableOf(fileFlag.Name)
		file := getenv(variable)
		switch {
		case file != "" && value != "":
			return nil, Usage("", "%s and %s must not both be set", variableOf(flag.Name), variable)
		case file != "":
			return readSecret(variable, file)
		}
	}
	if value == "" && conventionalVariables[flag.Name] != "" {
		value = getenv(conventionalVariables[flag.Name])
	}

	if value == "" {
		return nil, nil
	}
	return value, nil
}

// readSecret reads a file with a secret. It drops the line break that editors put at the end. The
// source is the flag or the variable that names the file.
func readSecret(source, file string) (any, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, Usage(source, "%v", err)
	}
	secret := strings.TrimSuffix(string(content), "\n")
	secret = strings.TrimSuffix(secret, "\r")
	if secret == "" {
		return nil, Usage(source, "the file must not be empty")
	}
	return secret, nil
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
