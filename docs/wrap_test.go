package docs_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

const maxColumns = 100

func TestPagesWrapAt100Columns(t *testing.T) {
	for _, page := range listFiles(t,
		"../*.md",
		"*.md",
		"../bench/README.md",
		"../clients/*/README.md",
		"../examples/README.md",
	) {
		t.Run(page, func(t *testing.T) {
			for _, line := range longLines(readFile(t, page)) {
				t.Errorf("this line must have at most %d columns: %s", maxColumns, line)
			}
		})
	}
}

var (
	// linkTarget matches the part of a link that readers do not see.
	linkTarget = regexp.MustCompile(`\]\([^)]*\)`)
	// unbreakable matches a line that is one word or one image.
	unbreakable = regexp.MustCompile(`^([-*#] *)?(\S+|!\[.*\]\(.*\))$`)
)

// longLines returns the lines of a page that are too long. Code blocks, tables, HTML comments and
// the results of benchmarks, which a program writes, may be longer. The target of a link does not
// count.
func longLines(page string) []string {
	var long []string
	isCode := false
	isComment := false
	isGenerated := false
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		text := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(text, "```"):
			isCode = !isCode
		case isCode:
		case strings.HasPrefix(text, "<!-- bench:"):
			isGenerated = true
		case strings.HasPrefix(text, "<!-- /bench:"):
			isGenerated = false
		case isComment || strings.HasPrefix(text, "<!--"):
			isComment = !strings.Contains(text, "-->")
		case isGenerated, strings.HasPrefix(text, "|"), strings.HasPrefix(line, "    "):
		default:
			visible := linkTarget.ReplaceAllString(line, "]")
			if utf8.RuneCountInString(visible) > maxColumns && !unbreakable.MatchString(text) {
				long = append(long, line)
			}
		}
	}
	return long
}

func TestLongLinesIgnoresCodeTablesLinksAndComments(t *testing.T) {
	words := strings.Repeat("word ", 30)
	for _, tt := range []struct {
		name string
		page string
		want int
	}{
		{"text", words + "\n", 1},
		{"two lines", words + "\nshort\n" + words, 2},
		{"list", "- " + words, 1},
		{"code block", "```sh\n" + words + "\n```\n", 0},
		{"after a code block", "```sh\nx\n```\n" + words, 1},
		{"indented code", "    " + words, 0},
		{"table", "| " + words + " |", 0},
		{"comment", "<!-- " + words + "\n" + words + "-->\n", 0},
		{"after a comment", "<!-- x -->\n" + words, 1},
		{"benchmark", "<!-- bench:path -->\n" + words + "\n<!-- /bench:path -->\n", 0},
		{"after a benchmark", "<!-- bench:path -->\n<!-- /bench:path -->\n" + words, 1},
		{"link", "a [link](https://example.com/" + strings.Repeat("x", 100) + ") in a text", 0},
		{"image", "![" + words + "](page.png)", 0},
		{"one word", strings.Repeat("x", 120), 0},
		{"100 characters", strings.Repeat("ü ", 50), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := longLines(tt.page); len(got) != tt.want {
				t.Errorf("got %d long lines, want %d: %q", len(got), tt.want, got)
			}
		})
	}
}
