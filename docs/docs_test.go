package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// listFiles returns the files that match any of the patterns.
func listFiles(t *testing.T, patterns ...string) []string {
	t.Helper()
	var names []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			t.Fatalf("no file matches %s", pattern)
		}
		names = append(names, found...)
	}
	return names
}

func TestStreamsPageShowsTheTestedPrograms(t *testing.T) {
	page := readFile(t, "streams.md")
	programs := map[string]string{
		"node-consumer/main.js":       "js",
		"python-consumer/consumer.py": "python",
	}
	for file, language := range programs {
		t.Run(file, func(t *testing.T) {
			block := "```" + language + "\n" + readFile(t, "../clients/"+file) + "```\n"
			if !strings.Contains(page, block) {
				t.Errorf("streams.md does not show clients/%s unchanged", file)
			}
		})
	}
}

func TestREADMELinksEveryPage(t *testing.T) {
	readme := readFile(t, "../README.md")
	for _, page := range listFiles(t, "*.*") {
		if filepath.Ext(page) == ".go" {
			continue
		}
		if !strings.Contains(readme, "](docs/"+page+")") {
			t.Errorf("README.md has no link to docs/%s", page)
		}
	}
}

// metricName matches the metrics of this project.
var metricName = regexp.MustCompile(`\brealtime_(?:[a-z]+_)+[a-z]+\b`)

// The pages may name only metrics that metrics.md explains. It is compared with the programs. The
// patterns of commands are the beginnings of names.
func TestPagesNameRealMetrics(t *testing.T) {
	metrics := metricName.FindAllString(readFile(t, "metrics.md"), -1)
	named := 0
	for _, page := range listFiles(t, "*.md") {
		for _, name := range metricName.FindAllString(readFile(t, page), -1) {
			named++
			isBeginning := func(metric string) bool { return strings.HasPrefix(metric, name) }
			if !slices.ContainsFunc(metrics, isBeginning) {
				t.Errorf("%s names %s, which is not in metrics.md", page, name)
			}
		}
	}
	if named == len(metrics) {
		t.Error("only metrics.md names metrics, want other pages, too")
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

func TestLinksLeadToFilesAndHeadings(t *testing.T) {
	for _, page := range listFiles(t, "../*.md", "*.md", "../bench/*.md", "../clients/*/*.md") {
		t.Run(page, func(t *testing.T) {
			for _, match := range link.FindAllStringSubmatch(readFile(t, page), -1) {
				checkLink(t, page, match[1])
			}
		})
	}
}

// checkLink checks the target of a link within the repository.
func checkLink(t *testing.T, page, target string) {
	t.Helper()
	if strings.Contains(target, "://") {
		return
	}
	file, anchor, _ := strings.Cut(target, "#")
	path := page
	if file != "" {
		path = filepath.Join(filepath.Dir(page), file)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the link %s leads to no file: %v", target, err)
		return
	}
	if anchor != "" && !slices.Contains(headingAnchors(readFile(t, path)), anchor) {
		t.Errorf("the link %s leads to no heading", target)
	}
}

// headingAnchors returns the names by which links name the headings of a page.
func headingAnchors(page string) []string {
	var anchors []string
	for _, match := range heading.FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(match[1]), "")
		anchors = append(anchors, strings.ReplaceAll(name, " ", "-"))
	}
	return anchors
}

// The client in protocol.md is there to be read. clients/scenarios/raw plays the scenarios with it.
func TestRawClientIsShort(t *testing.T) {
	const limit = 80
	_, code, found := strings.Cut(readFile(t, "protocol.md"), "```js\nfunction watch(")
	code, _, closed := strings.Cut(code, "\n```")
	if !found || !closed {
		t.Fatal("protocol.md: got no function watch")
	}
	lines := strings.Split(code, "\n")
	if len(lines) > limit {
		t.Errorf("lines of the client: got %d, want at most %d", len(lines), limit)
	}
	for _, line := range lines {
		if len(line) > 100 {
			t.Errorf("this line must have at most 100 columns: %s", line)
		}
	}
}
