package monitoringtest_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/redroomrewards/realtime/internal/auth"
)

// Real programs run into some of the problems of the runbook, and the expressions of the alerts
// become true. While they are healthy, each query of the dashboard returns data.
func TestRealPrograms(t *testing.T) {
	in := startInstallation(t)
	alerts, records := readRules(t)
	isTrue := func(name string) bool {
		i := slices.IndexFunc(alerts, func(r rulefmt.Rule) bool { return r.Alert == name })
		if i < 0 {
			t.Fatalf("there is no alert %s", name)
		}
		return len(in.query(alerts[i].Expr, time.Now())) > 0
	}
	waitFor := func(name string) {
		in.waitUntil(name, func() bool { return isTrue(name) })
	}

	waitFor("CoreTokenRefused")
	in.writeToken(auth.ScopeRead, 0, time.Hour)
	in.waitUntil("the end of CoreTokenRefused", func() bool { return !isTrue("CoreTokenRefused") })

	in.waitUntil("all programs run", func() bool { return len(in.query("up == 1", time.Now())) == 3 })
	in.waitUntil("the gateway has read the streams", func() bool { return in.isReady(in.gateway) })
	in.openEvents()
	for range 2 { // the rate of a counter needs two samples
		in.credit()
		in.post(http.StatusCreated, "/v1/accounts/user:u1/holds", `{"amount":1,"reason":"r","queueItemId":"q","featureType":"chip_menu"}`)
		in.post(http.StatusPaymentRequired, "/v1/accounts/user:u1/holds", `{"amount":1000000,"reason":"r","queueItemId":"q","featureType":"chip_menu"}`)
		written := in.sum("realtime_gateway_stream_to_socket_seconds_count")
		handled := in.sum("realtime_bus_handler_successes_total")
		in.waitUntil("the client and the subscriber get events", func() bool {
			in.credit() // the client may not have been live at the one before
			return in.sum("realtime_gateway_stream_to_socket_seconds_count") > written && in.sum("realtime_bus_handler_successes_total") > handled
		})
	}
	now := time.Now()
	in.record(records, now)
	in.checkDashboard(now)
	in.checkRunbookCommands()
	for _, quiet := range []string{
		"CoreDown", "GatewayDown", "CoreTokenRefused", "CoreTokenExpires", "LedgerFails", "LedgerWentBack",
		"DeadLetters", "SubscriberPaused", "SubscribersLostEntries",
	} {
		if isTrue(quiet) {
			t.Errorf("%s must not be true", quiet)
		}
	}

	in.writeToken(auth.ScopeRead, 10*time.Hour, 30*time.Minute)
	waitFor("CoreTokenExpires")

	in.creditMany("early", 150)
	in.waitUntil("Redis has the balances", func() bool { return in.countBalances("user:early*") == 150 })
	stream := in.findStream()
	in.redisCLI("xadd", stream, "*", "a", "b")
	waitFor("StrangeStreamEntries")
	small := in.startGatewayWithFewFiles()
	in.waitUntil("FileDescriptorsShort", func() bool {
		in.connect(small)
		return isTrue("FileDescriptorsShort")
	})

	// Redis can be read and not written.
	in.redisCLI("config", "set", "maxmemory", "1")
	in.creditMany("many", 1000)
	waitFor("PublishingFails")
	in.creditMany("many", 1000)
	waitFor("OutboxGrows")
	waitFor("BalancesBehind")
	waitFor("EventsLate")
	waitFor("KeysNotFetched") // the gateway with few files tries again after some seconds
	in.redisCLI("flushall")
	in.redisCLI("config", "set", "maxmemory", "0")
	waitFor("RedisLostEvents")

	in.redisCLI("del", stream)
	in.redisCLI("set", stream, "of another program")
	in.credit()
	waitFor("PartitionsUnavailable")
	in.redisCLI("del", stream)
	in.waitUntil("the end of PartitionsUnavailable", func() bool { return !isTrue("PartitionsUnavailable") })
	restore := in.backUpLedger()
	in.creditMany("lost", 1)
	in.waitUntil("Redis has the balance", func() bool { return in.countBalances("user:lost*") == 1 })
	restore()
	waitFor("LedgerWentBack")

	in.redis.Kill()
	waitFor("StreamsUnread")
	in.gateway.process.Kill()
	waitFor("GatewayDown")
	in.core.process.Kill()
	waitFor("CoreDown")
}

// isReady reports whether /readyz of a target answers that it is ready or degraded.
func (in *installation) isReady(p *target) bool {
	req, err := http.NewRequestWithContext(in.Context(), http.MethodGet, "http://"+p.metrics+"/readyz", nil)
	if err != nil {
		in.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// sum returns the sum of a metric over its labels. It is 0 if there is no such metric.
func (in *installation) sum(metric string) float64 {
	in.Helper()
	for _, v := range in.query("sum("+metric+")", time.Now()) {
		return v.F
	}
	return 0
}

// checkDashboard wants each query to return data. The exception are queries of counters with
// labels, which appear with their first event.
func (in *installation) checkDashboard(now time.Time) {
	in.Helper()
	metrics := knownMetrics(in.T)
	n := 0
	for _, p := range readDashboard(in.T).Panels {
		for _, q := range p.Targets {
			expression := fillVariables(in.T, p.Title, q.Expr, []string{"core", "gateway", "__rate_interval"})
			if len(in.query(expression, now)) > 0 {
				n++
				continue
			}
			if !in.waitsForEvents(expression, metrics) {
				in.Errorf("%s: got no data for %s", p.Title, expression)
			}
		}
	}
	if n < 80 {
		in.Errorf("got data for %d queries, want at least 80", n)
	}
}

// waitsForEvents reports whether an expression has a counter with labels that has no rate yet, since
// it does not exist or has just appeared with its first event.
func (in *installation) waitsForEvents(expression string, metrics map[string]metric) (waits bool) {
	in.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		in.Fatal(err)
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		m, _ := findMetric(metrics, selector.Name)
		hasLabels := len(m.labels) > 0 && m.labels[0] != ""
		set := querier{in.store}.Select(in.Context(), false, nil, selector.LabelMatchers...)
		hasRate := false
		for set.Next() {
			n := 0
			for it := set.At().Iterator(nil); it.Next() != chunkenc.ValNone; {
				n++
			}
			hasRate = hasRate || n > 1
		}
		if m.kind == "counter" && hasLabels && !hasRate {
			waits = true
		}
		return nil
	})
	return waits
}
