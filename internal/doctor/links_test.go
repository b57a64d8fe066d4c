package doctor_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`"([a-z-]+\.md)(#[a-z0-9-]+)?"`)
	notSlug = regexp.MustCompile(`[^a-z0-9 -]`)
)

// Each link of an advice leads to a section that exists.
func TestLinksLeadToSections(t *testing.T) {
	t.Parallel()
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		content, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(content), -1) {
			count++
			page, section := found[1], strings.TrimPrefix(found[2], "#")
			sections := listSections(t, page)
			if section != "" && !sections[section] {
				t.Errorf("%s: docs/%s must have a section %s", source, page, section)
			}
		}
	}
	if count < 20 {
		t.Errorf("got %d links, want more", count)
	}
}

// listSections returns the anchors of the headings of a page.
func listSections(t *testing.T, page string) map[string]bool {
	t.Helper()
	content, err := os.ReadFile("../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "#") {
			heading := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
			sections[strings.ReplaceAll(notSlug.ReplaceAllString(heading, ""), " ", "-")] = true
		}
	}
	return sections
}
