package clitest

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/redroomrewards/realtime/internal/cli"
)

var update = flag.Bool("update", false, "write the tables and lists of flags")

// checkReference checks the tables of a program's flags in a page of the documentation. They are
// between the comments <!-- NAME flags --> and <!-- /NAME flags -->, where NAME is the program.
func checkReference(t *testing.T, app cli.App, page string) {
	t.Helper()
	text := readFile(t, page)
	begin := fmt.Sprintf("<!-- %s flags -->\n", app.Name)
	end := fmt.Sprintf("<!-- /%s flags -->\n", app.Name)
	before, rest, hasBegin := strings.Cut(text, begin)
	_, after, hasEnd := strings.Cut(rest, end)
	if !hasBegin || !hasEnd {
		t.Fatalf("%s must have the comments %q and %q", page, begin, end)
	}

	c := &checker{T: t, app: app}
	want := before + begin + "\n" + describeFlags(c.newParser(nil).Model) + end + after
	compareFile(t, app, page, want)
}

// checkVariableList checks the list of a program's variables, which the other programs know from it.
func checkVariableList(t *testing.T, app cli.App, file string) {
	t.Helper()
	var names []string
	c := &checker{T: t, app: app}
	for _, command := range c.newParser(nil).Model.Leaves(false) {
		for _, f := range listFlags(command) {
			if !f.Tag.Has("once") {
				names = append(names, variableOf(f.Name))
			}
		}
	}
	slices.Sort(names)
	compareFile(t, app, file, strings.Join(slices.Compact(names), "\n")+"\n")
}

// compareFile compares a file that is generated from the flags. With -update, it writes the file.
func compareFile(t *testing.T, app cli.App, file, want string) {
	t.Helper()
	if *update {
		err := os.WriteFile(file, []byte(want), 0o644) //nolint:gosec // everyone may read it
		if err != nil {
			t.Fatal(err)
		}
	}
	if readFile(t, file) != want {
		t.Errorf("%s must have the current flags; run: go test ./cmd/%s -run TestFlags/reference -update", file, app.Name)
	}
}

// A row is a flag of one or several commands.
type row struct {
	flag     *kong.Flag
	variable string
	dflt     string
	commands []string
}

// describeFlags returns one table for the settings of serve, one for the settings of other commands,
// and one for the flags that are only on the command line.
func describeFlags(program *kong.Application) string {
	var service, others, once []*row
	for _, command := range program.Leaves(false) {
		for _, f := range listFlags(command) {
			r := newRow(f)
			switch {
			case r.variable == "":
				once = addRow(once, command, r)
			case command.Name == "serve":
				service = addRow(service, command, r)
			case !isIn(service, r):
				others = addRow(others, command, r)
			}
		}
	}

	var out strings.Builder
	writeTable(&out, fmt.Sprintf("Settings of `%s serve`. Other commands have some of them too.", program.Name), service, false)
	writeTable(&out, "Settings that only other commands have, or with another default.", others, true)
	writeTable(&out, "Flags for one call, on the command line only.", once, true)
	return out.String()
}

func newRow(f *kong.Flag) *row {
	r := &row{flag: f}
	if f.HasDefault {
		r.dflt = f.Default
	}
	if !f.Tag.Has("once") {
		r.variable = variableOf(f.Name)
	}
	return r
}

// isIn reports whether a table has a flag with its default.
func isIn(table []*row, r *row) bool {
	return slices.ContainsFunc(table, r.isSame)
}

func (r *row) isSame(other *row) bool {
	return r.flag.Name == other.flag.Name && r.dflt == other.dflt
}

// addRow adds a command's flag to a table. Flags with the same name and help share a row.
func addRow(table []*row, command *kong.Node, r *row) []*row {
	path := "`" + command.Path() + "`"
	for _, known := range table {
		if known.isSame(r) && known.flag.Help == r.flag.Help {
			known.commands = append(known.commands, path)
			return table
		}
	}
	r.commands = []string{path}
	return append(table, r)
}

func writeTable(out *strings.Builder, title string, table []*row, hasCommands bool) {
	if len(table) == 0 {
		return
	}
	fmt.Fprintf(out, "%s\n\n", title)
	columns := []string{"flag", "default", "meaning"}
	if hasCommands {
		columns = []string{"flag", "commands", "default", "meaning"}
	}
	fmt.Fprintf(out, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, r := range table {
		cells := []string{r.describeFlag()}
		if hasCommands {
			cells = append(cells, strings.Join(r.commands, ", "))
		}
		cells = append(cells, r.describeDefault(), escapeMarkdown.Replace(r.flag.Help))
		fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
	}
	out.WriteString("\n")
}

// escapeMarkdown keeps characters of a text from being markup in a table.
var escapeMarkdown = strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`)

// describeFlag returns the flag and its variables.
func (r *row) describeFlag() string {
	text := "`--" + r.flag.Name + "`"
	if r.variable != "" {
		text += "<br>`" + r.variable + "`"
	}
	if name := conventional[r.flag.Name]; name != "" {
		text += "<br>`" + name + "`"
	}
	return text
}

func (r *row) describeDefault() string {
	switch {
	case r.flag.Required:
		return "required"
	case r.dflt == "":
		return "–"
	}
	return "`" + r.dflt + "`"
}
