package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// The page shows the programs that clients/ tests.
func TestProgramsAreTheTestedOnes(t *testing.T) {
	page := read(t, "streams.md")
	for file, language := range map[string]string{"node-consumer/main.js": "js", "python-consumer/consumer.py": "python"} {
		if !strings.Contains(page, "```"+language+"\n"+read(t, "../clients/"+file)+"```\n") {
			t.Errorf("streams.md does not have clients/%s as it is", file)
		}
	}
}

func TestREADMELinksEveryPage(t *testing.T) {
	readme := read(t, "../README.md")
	pages, err := filepath.Glob("*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if filepath.Ext(page) != ".go" && !strings.Contains(readme, "](docs/"+page+")") {
			t.Errorf("README.md has no link to docs/%s", page)
		}
	}
}

// What the page tells to look at is there, by the name that metrics.md has.
func TestTroubleshootingNamesRealMetrics(t *testing.T) {
	metrics := read(t, "metrics.md")
	names := regexp.MustCompile(`\b(?:event|gateway|relay|stream|wallet_event)_\w+(?:_total|_seconds|_entries|_letters|_flight|_paused|_running|_backlog)\b`)
	for _, name := range names.FindAllString(read(t, "troubleshooting.md"), -1) {
		if !strings.Contains(metrics, "`"+name) {
			t.Errorf("%s is not in metrics.md", name)
		}
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"../*.md", "*.md", "../bench/*.md", "../clients/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	for _, page := range pages {
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(read(t, page), -1) {
			file, heading, _ := strings.Cut(link[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", page, err)
			} else if heading != "" && !slices.Contains(headings(read(t, target)), heading) {
				t.Errorf("%s: %s has no heading %q", page, target, heading)
			}
		}
	}
}

// headings are a page's, as links name them.
func headings(page string) (names []string) {
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(h[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}
