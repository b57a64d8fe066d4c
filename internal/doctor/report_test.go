package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	area := Area{name: "area", run: func(_ context.Context, c *collector) {
		c.ok("one", "fine")
		c.skip("two", "not looked at")
		c.warn("three", advice{"mend it", "doctor.md#redis"}, "bad\x1b[2J")
		c.fail("four", advice{"mend it now", ""}, "broken")
	}}
	report, err := Run(t.Context(), area, area)
	if err != nil {
		t.Fatal(err)
	}
	if report.OK || report.Failures != 2 || report.Warnings != 2 || len(report.Results) != 8 {
		t.Errorf("got %+v, want 2 failures and 2 warnings of 8 checks", report)
	}
	if !errors.Is(report.Err(), ErrFailed) {
		t.Errorf("error: got %v, want ErrFailed", report.Err())
	}

	var text strings.Builder
	err = report.Write(&text, false)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text.String(), "\n")
	for i, want := range []string{
		"ok    area/one    fine",
		"skip  area/two    not looked at",
		"warn  area/three  bad\\u001b[2J; mend it (" + docsURL + "doctor.md#redis)",
		"fail  area/four   broken; mend it now",
	} {
		if lines[i] != want {
			t.Errorf("line %d: got %q, want %q", i+1, lines[i], want)
		}
	}
	if want := "8 checks: 2 failed, 2 with a warning, 2 skipped"; lines[8] != want {
		t.Errorf("summary: got %q, want %q", lines[8], want)
	}

	text.Reset()
	err = report.Write(&text, true)
	if err != nil {
		t.Fatal(err)
	}
	var decoded Report
	err = json.Unmarshal([]byte(text.String()), &decoded)
	if err != nil || decoded.Failures != 2 || decoded.Results[2].Check != "area/three" {
		t.Errorf("JSON: got %+v and %v", decoded, err)
	}
}

func TestInterruptedChecks(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Run(ctx, Area{name: "area", run: func(context.Context, *collector) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// No test has a server of an old version.
func TestOldRedis(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]Status{"6.2.14": Fail, "7.0.0": OK, "10.1.0": OK, "": Skip} {
		c := &collector{area: "redis"}
		r := &redisCheck{collector: c, masters: []serverInfo{{fields: map[string]string{"redis_version": version}}}}
		r.checkVersion()
		if got := c.results[0].Status; got != want {
			t.Errorf("%q: got %s, want %s", version, got, want)
		}
	}
}
