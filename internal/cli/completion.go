package cli

import (
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/spf13/cobra"
)

// completionCmd prints a script for a shell. The script asks the program for the words that fit.
//
// The scripts are those of Cobra, which many programs use and which three shells are tested with. For
// this alone, completionTree describes the commands to Cobra. kong parses all other command lines.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Shell, one of ${enum}."`
}

// Help explains how to load the scripts.
func (completionCmd) Help() string {
	return "The output is a script to load:\n\n" +
		"  source <(core completion bash)                                     # in ~/.bashrc\n" +
		"  core completion zsh > \"${fpath[1]}/_core\"                          # once\n" +
		"  core completion fish > ~/.config/fish/completions/core.fish        # once\n\n" +
		"bash needs the package bash-completion, and zsh needs compinit. The gateway has the same command."
}

// Run prints the script.
func (c completionCmd) Run(i *invocation, command *kong.Context) error {
	root := completionTree(command.Model.Node)
	switch c.Shell {
	case "bash":
		return root.GenBashCompletionV2(i.env.Stdout, true)
	case "zsh":
		return root.GenZshCompletion(i.env.Stdout)
	default:
		return root.GenFishCompletion(i.env.Stdout, true)
	}
}

// isCompletionRequest reports whether a script of completion asks for words.
func isCompletionRequest(args []string) bool {
	requests := []string{cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}
	return len(args) > 0 && slices.Contains(requests, args[0])
}

// complete prints the words that fit to the arguments so far.
func (i *invocation) complete(args []string) error {
	parser, err := NewParser(i.env, i.app)
	if err != nil {
		return err
	}
	root := completionTree(parser.Model.Node)
	root.SetArgs(args)
	root.SetOut(i.env.Stdout)
	root.SetErr(io.Discard) // notes for people who write completions
	return root.ExecuteContext(i.env.Context)
}

// completionTree describes a command and those below it to Cobra.
func completionTree(node *kong.Node) *cobra.Command {
	command := &cobra.Command{
		Use:   node.Name,
		Short: firstSentence(node.Help),
		Run:   func(*cobra.Command, []string) {}, // without it, Cobra offers no flags
	}
	command.CompletionOptions.DisableDefaultCmd = true
	for _, flag := range node.Flags {
		addCompletionFlag(command, flag)
	}
	for _, child := range node.Children {
		if !child.Hidden {
			command.AddCommand(completionTree(child))
		}
	}
	if node.Parent == nil {
		command.SetHelpCommand(findCompletionCommand(command, "help"))
	}
	command.ValidArgsFunction = completeArguments(node)
	return command
}

func findCompletionCommand(parent *cobra.Command, name string) *cobra.Command {
	for _, command := range parent.Commands() {
		if command.Name() == name {
			return command
		}
	}
	return nil
}

// addCompletionFlag describes a flag. Flags of the program are valid after each command.
func addCompletionFlag(command *cobra.Command, flag *kong.Flag) {
	flags := command.Flags()
	if !command.HasParent() && flag.Name == configFlag {
		flags = command.PersistentFlags()
	}
	help := firstSentence(flag.Help)
	switch {
	case flag.Name == "help":
		return // Cobra adds its own
	case flag.IsBool():
		flags.Bool(flag.Name, false, help)
		return
	case flag.IsSlice():
		flags.StringSlice(flag.Name, nil, help)
	default:
		flags.String(flag.Name, "", help)
	}
	_ = command.RegisterFlagCompletionFunc(flag.Name, completeValue(flag)) // the flag exists
}

// completeValue offers the choices of a flag, files if its value is one, and nothing otherwise.
func completeValue(flag *kong.Flag) cobra.CompletionFunc {
	isFile := flag.PlaceHolder == "FILE" || flag.Name == "data"
	switch {
	case flag.Enum != "":
		return cobra.FixedCompletions(flag.EnumSlice(), cobra.ShellCompDirectiveNoFileComp)
	case isFile:
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	}
	return cobra.NoFileCompletions
}

// completeArguments offers the choices of the first argument, and the names of commands after help
// and config.
func completeArguments(node *kong.Node) cobra.CompletionFunc {
	isAboutCommand := node.Name == "help" || node.Name == "config"
	switch {
	case len(node.Positional) == 0:
		return cobra.NoFileCompletions
	case isAboutCommand:
		return completeCommands(node.Parent)
	}
	first := node.Positional[0]
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || first.Enum == "" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return first.EnumSlice(), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeCommands offers the commands below those that are already given.
func completeCommands(program *kong.Node) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		node := program
		for _, name := range args {
			node = findCommand(node, name)
			if node == nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
		}
		var words []string
		for _, child := range node.Children {
			words = append(words, cobra.CompletionWithDesc(child.Name, firstSentence(child.Help)))
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// firstSentence returns the first sentence of a help text, which fits into a line.
func firstSentence(help string) string {
	sentence, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(sentence, ".")
}
