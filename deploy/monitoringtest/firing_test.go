package monitoringtest_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func readRules(t *testing.T) (alerts, records []rulefmt.Rule) {
	t.Helper()
	groups, errs := rulefmt.Parse(readFile(t, "deploy/alerts.yml"), false, model.LegacyValidation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				alerts = append(alerts, r)
			} else {
				records = append(records, r)
			}
		}
	}
	return alerts, records
}

// record evaluates the recording rules at a time.
func (s *store) record(records []rulefmt.Rule, at time.Time) {
	s.t.Helper()
	for _, r := range records {
		for _, v := range s.query(r.Expr, at) {
			b := labels.NewBuilder(v.Metric).Set(model.MetricNameLabel, r.Record)
			for name, value := range r.Labels {
				b.Set(name, value)
			}
			s.add(b.Labels(), at, v.F)
		}
	}
}

// listFiring returns the labels with which an alert fires at a time: the expression was true once a
// minute for the duration of the rule.
func (s *store) listFiring(alert rulefmt.Rule, at time.Time) []string {
	s.t.Helper()
	wait := time.Duration(alert.For)
	trueFor := map[string]int{}
	n := 0
	for past := at.Add(-wait); !past.After(at); past = past.Add(time.Minute) {
		n++
		for _, v := range s.query(alert.Expr, past) {
			trueFor[v.Metric.String()]++
		}
	}
	var firing []string
	for lset, count := range trueFor {
		if count == n {
			firing = append(firing, lset)
		}
	}
	return firing
}

// minutesAfterStart returns a time of a store.
func minutesAfterStart(n int) time.Time { return time.Unix(int64(n)*60, 0) }

// histogramSeries returns the series of a histogram in which each minute so many observations are
// under the bound and over it.
func histogramSeries(name, labels, bound string, under, over, minutes int) []string {
	return []string{
		fmt.Sprintf(`%s_bucket{%sle="%s"} 0+%dx%d`, name, labels, bound, under, minutes),
		fmt.Sprintf(`%s_bucket{%sle="+Inf"} 0+%dx%d`, name, labels, under+over, minutes),
		fmt.Sprintf(`%s_count{%s} 0+%dx%d`, name, strings.TrimSuffix(labels, ","), under+over, minutes),
	}
}

// Each alert except those of the objectives, with the series of its problem.
var problems = map[string][]string{
	"CoreDown":               {`up{job="core"} 0x60`},
	"LedgerFails":            {`realtime_ledger_operations_total{result="done"} 0+600x60`, `realtime_ledger_operations_total{result="unavailable"} 0+12x60`},
	"LedgerOverloaded":       {`realtime_ledger_overloaded_total 0+1x60`},
	"ReadsRefused":           {`realtime_http_reads_refused_total{readers="services",reason="full"} 0+1x60`},
	"CommitsSlow":            histogramSeries("realtime_ledger_commit_seconds", "", "0.5", 97, 3, 60),
	"LoopStands":             {`realtime_relay_loop_last_success_timestamp_seconds{loop="sweep"} 60x60`},
	"CommitsStuck":           {`realtime_ledger_commit_running_seconds ` + strings.Repeat("0.5 4 ", 31)},
	"RequestsSlow":           histogramSeries("realtime_http_request_duration_seconds", `operation="hold",`, "2.5", 97, 3, 60),
	"EventsLate":             {`realtime_relay_outbox_oldest_age_seconds 11x60`},
	"OutboxGrows":            {`realtime_relay_outbox_backlog 1001+1x60`},
	"PublishingFails":        {`realtime_relay_publish_errors_total{reason="redis"} 0+1x60`},
	"PartitionsUnavailable":  {`realtime_relay_partitions{state="failing"} 1x60`},
	"RedisLostEvents":        {`realtime_relay_republished_total 0+8x60`},
	"LedgerWentBack":         {`realtime_relay_forked_accounts_total 0x50 1x10`},
	"GatewayDown":            {`up{job="gateway"} 0x60`},
	"StreamsLag":             {`realtime_stream_lag_seconds{partition="7"} 6x60`},
	"StreamsUnread":          {`realtime_stream_read_errors_total 0+1x60`},
	"StrangeStreamEntries":   {`realtime_stream_malformed_total 0x50 1x10`},
	"DeliveriesSlow":         histogramSeries("realtime_gateway_stream_to_socket_seconds", "", "2.5", 97, 3, 60),
	"ClientsTooSlow":         {`realtime_gateway_closes_total{code="4413"} 0+61x60`},
	"HistoryUnavailable":     {`realtime_gateway_resyncs_total 0+61x60`},
	"BalancesBehind":         {`realtime_gateway_partitions_behind 1x60`},
	"TokensRefused":          {`realtime_gateway_auth_failures_total 0+601x60`},
	"CoreTokenRefused":       {`realtime_gateway_core_token_refused 1x60`},
	"CoreTokenExpires":       {`realtime_gateway_core_token_expiring 1x60`},
	"DeadLetters":            {`realtime_bus_dead_letters{group="g"} 1x60`},
	"SubscriberPaused":       {`realtime_bus_subscriber_paused{subscriber="s"} 1x60`},
	"SubscribersLag":         {`realtime_bus_lag_seconds{group="g"} 61x60`},
	"SubscribersLostEntries": {`realtime_bus_entries_trimmed_total{group="g"} 0x50 1x10`},
	"KeysNotFetched":         {`realtime_jwks_fetch_errors_total{job="core"} 0+1x60`},
	"FileDescriptorsShort":   {`process_open_fds{job="core"} 900x60`, `process_max_fds{job="core"} 1000x60`},
}

func TestAlertsFire(t *testing.T) {
	alerts, _ := readRules(t)
	for _, a := range alerts {
		if strings.HasPrefix(a.Alert, "Budget") {
			continue // see TestBudgetAlerts
		}
		t.Run(a.Alert, func(t *testing.T) {
			s := newStore(t)
			if len(problems[a.Alert]) == 0 {
				t.Fatal("the test must have series for which the alert fires")
			}
			for _, series := range problems[a.Alert] {
				s.load(series)
			}
			if firing := s.listFiring(a, minutesAfterStart(60)); len(firing) != 1 {
				t.Errorf("got %v, want that the alert fires once", firing)
			}
		})
	}
}

// healthy has the series of a day without problems: some clients are refused, an event is a
// duplicate, a write fails now and then.
func healthy(minutes int) []string {
	series := []string{
		`up{job="core"} 1xN`, `up{job="gateway"} 1xN`,
		`realtime_ledger_operations_total{result="done"} 0+60000xN`,
		`realtime_ledger_operations_total{result="failed"} 0+6xN`,
		`realtime_http_requests_total{operation="hold",status="201"} 0+60000xN`,
		`realtime_http_requests_total{operation="hold",status="409"} 0+6000xN`,
		`realtime_http_requests_total{operation="hold",status="503"} 0+6xN`,
		`realtime_http_requests_total{operation="get-balance",status="503"} 0+6000xN`,
		`realtime_ledger_overloaded_total 0xN`,
		`realtime_http_reads_refused_total{readers="users",reason="full"} 0+1xN`,
		`realtime_ledger_loop_last_success_timestamp_seconds{loop="escrow_expiry"} 0+60xN`,
		`realtime_relay_loop_last_success_timestamp_seconds{loop="sweep"} 0+60xN`,
		`realtime_ledger_commit_running_seconds 0.01xN`,
		`realtime_relay_outbox_oldest_age_seconds 0.1xN`,
		`realtime_relay_outbox_backlog 50xN`,
		`realtime_relay_publish_errors_total{reason="redis"} 3xN`,
		`realtime_relay_partitions{state="failing"} 0xN`,
		`realtime_relay_partitions{state="writable"} 64xN`,
		`realtime_relay_republished_total 0xN`,
		`realtime_relay_forked_accounts_total 1xN`,
		`realtime_relay_history_comparison_running 0xN`,
		`realtime_stream_lag_seconds{partition="7"} 0.001xN`,
		`realtime_stream_read_errors_total 5xN`,
		`realtime_stream_malformed_total 1xN`,
		`realtime_gateway_closes_total{code="1000"} 0+600xN`,
		`realtime_gateway_closes_total{code="1012"} 0+600xN`,
		`realtime_gateway_closes_total{code="4413"} 0+1xN`,
		`realtime_gateway_refusals_total{status="401"} 0+60xN`,
		`realtime_gateway_resyncs_total 0+6xN`,
		`realtime_gateway_partitions_behind 0xN`,
		`realtime_gateway_auth_failures_total 0+60xN`,
		`realtime_gateway_core_token_refused 0xN`,
		`realtime_gateway_core_token_expiring 0xN`,
		`realtime_bus_dead_letters{group="g"} 0xN`,
		`realtime_bus_subscriber_paused{subscriber="s"} 0xN`,
		`realtime_bus_lag_seconds{group="g"} 1xN`,
		`realtime_bus_entries_trimmed_total{group="g"} 0xN`,
		`realtime_jwks_fetch_errors_total{job="core"} 1xN`,
		`process_open_fds{job="core"} 100xN`, `process_max_fds{job="core"} 1000xN`,
	}
	for i := range series {
		series[i] = strings.ReplaceAll(series[i], "xN", fmt.Sprint("x", minutes))
	}
	for name, bound := range map[string]string{
		"realtime_ledger_commit_seconds":            "0.025",
		"realtime_relay_publish_delay_seconds":      "0.128",
		"realtime_gateway_stream_to_socket_seconds": "0.1",
	} {
		series = append(series, histogramSeries(name, "", bound, 60000, 60, minutes)...)
	}
	return append(series, histogramSeries("realtime_http_request_duration_seconds", `operation="hold",`, "0.5", 60000, 60, minutes)...)
}

func TestAlertsAreSilentOnAHealthySystem(t *testing.T) {
	const minutes = 4 * 24 * 60
	alerts, records := readRules(t)
	s := newStore(t)
	for _, series := range healthy(minutes) {
		s.load(series)
	}
	for past := minutes - 2; past <= minutes; past++ {
		s.record(records, minutesAfterStart(past))
	}
	for _, a := range alerts {
		if firing := s.listFiring(a, minutesAfterStart(minutes)); len(firing) > 0 {
			t.Errorf("%s: got %v, want that the alert does not fire", a.Alert, firing)
		}
	}
	// The objectives have values, so the alerts of the objectives compared them.
	if n := len(s.query("realtime:slo_errors:ratio_rate3d", minutesAfterStart(minutes))); n != 3 {
		t.Errorf("got %d objectives with a share of errors, want 3", n)
	}
}

// Errors at a rate for some time before now. The alerts differ in how many errors they need.
func TestBudgetAlerts(t *testing.T) {
	const minutes = 4 * 24 * 60
	for _, tc := range []struct {
		name        string
		slo         string
		badShare    float64 // of all, in the last minutes
		lastMinutes int
		want        string
	}{
		{"two per cent of the writes for an hour", "writes", 0.02, 60, "BudgetBurnsFast"},
		{"two per cent of the writes for five minutes", "writes", 0.02, 5, ""},
		{"0.8 per cent of the writes for six hours", "writes", 0.008, 360, "BudgetBurns"},
		{"0.2 per cent of the writes for three days", "writes", 0.002, 3 * 24 * 60, "BudgetBurnsSlowly"},
		{"a fifth of the events for an hour", "screens", 0.2, 60, "BudgetBurnsFast"},
		{"eight per cent of the events for six hours", "screens", 0.08, 360, "BudgetBurns"},
		{"a fifth of the connections for an hour", "connections", 0.2, 60, "BudgetBurnsFast"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			alerts, records := readRules(t)
			s := newStore(t)
			// Each minute has 10,000 requests, events or connections.
			bad := int(10_000 * tc.badShare)
			before := minutes - tc.lastMinutes
			good := fmt.Sprintf("0+10000x%d %d+%dx%d", before, 10_000*(before+1)-bad, 10_000-bad, tc.lastMinutes-1)
			all := fmt.Sprintf("0+10000x%d", minutes)
			failed := fmt.Sprintf("0x%d %d+%dx%d", before, bad, bad, tc.lastMinutes-1)
			switch tc.slo {
			case "writes":
				s.load(`realtime_http_requests_total{operation="hold",status="201"} ` + good)
				s.load(`realtime_http_requests_total{operation="hold",status="503"} ` + failed)
			case "screens":
				s.load(`realtime_relay_publish_delay_seconds_bucket{le="0.128"} ` + good)
				s.load(`realtime_relay_publish_delay_seconds_count ` + all)
				s.load(`realtime_gateway_stream_to_socket_seconds_bucket{le="0.1"} ` + all)
				s.load(`realtime_gateway_stream_to_socket_seconds_count ` + all)
			case "connections":
				s.load(`realtime_gateway_closes_total{code="1000"} ` + good)
				s.load(`realtime_gateway_closes_total{code="1011"} ` + failed)
			}
			for past := minutes - 2; past <= minutes; past++ {
				s.record(records, minutesAfterStart(past))
			}
			for _, a := range alerts {
				if !strings.HasPrefix(a.Alert, "Budget") {
					continue
				}
				firing := s.listFiring(a, minutesAfterStart(minutes))
				if (len(firing) > 0) != (a.Alert == tc.want) {
					t.Errorf("%s: got %v, want only %q to fire", a.Alert, firing, tc.want)
				}
			}
		})
	}
}
