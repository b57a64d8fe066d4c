package bustest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// withRegistry adds a registry to the settings of a bus. read returns the value of a metric:
// name{label=value,…} with sorted labels. A histogram has _count and _sum. The value of an unknown
// metric is 0.
func withRegistry(cfg bus.Config) (withMetrics bus.Config, read func(name string) float64) {
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	return cfg, func(name string) float64 {
		families, err := registry.Gather()
		if err != nil {
			return -1
		}

		for _, family := range families {
			for _, m := range family.GetMetric() {
				v, ok := metricValues(family.GetName(), m)[name]
				if ok {
					return v
				}
			}
		}

		return 0
	}
}

// metricValues returns the values of a metric by name.
func metricValues(family string, m *dto.Metric) map[string]float64 {
	var labels []string
	for _, l := range m.GetLabel() {
		labels = append(labels, l.GetName()+"="+l.GetValue())
	}

	suffix := "{" + strings.Join(labels, ",") + "}"
	switch {
	case m.GetCounter() != nil:
		return map[string]float64{family + suffix: m.GetCounter().GetValue()}
	case m.GetGauge() != nil:
		return map[string]float64{family + suffix: m.GetGauge().GetValue()}
	}

	h := m.GetHistogram()
	return map[string]float64{
		family + "_count" + suffix: float64(h.GetSampleCount()),
		family + "_sum" + suffix:   h.GetSampleSum(),
	}
}

func testMetrics(t *testing.T, newBus Maker) {
	cfg, read := withRegistry(fastConfig())
	b, _ := newBus(t, cfg)
	var calls recorder
	flaky := func(_ context.Context, e *bus.Event) error {
		switch calls.recordCall(e.ID) {
		case 1:
			return errTest
		case 2:
			panic("test")
		}

		return nil
	}

	dead := func(context.Context, *bus.Event) error { return bus.Permanent(errTest) }
	mustSubscribe(t, b, bus.Subscription{ID: "flaky", Types: []string{"a"}, Handler: bus.HandlerFunc(flaky)})
	mustSubscribe(t, b, bus.Subscription{ID: "dead", Types: []string{"a"}, Handler: bus.HandlerFunc(dead)})
	mustPublish(t, b,
		newEvent("1", "a", "user:u"),
		newEvent("1", "a", "user:u"),
		newEvent("2", "b", "user:u"))
	waitUntil(t, "the event is handled", func() bool { return calls.callCount() == 3 })
	mustClose(t, b)
	wants := map[string]float64{
		`realtime_bus_events_published_total{type=a}`:                   1,
		`realtime_bus_events_published_total{type=b}`:                   1,
		`realtime_bus_duplicates_total{type=a}`:                         1,
		`realtime_bus_events_unwanted_total{type=b}`:                    1,
		`realtime_bus_handler_successes_total{subscriber=flaky,type=a}`: 1,
		`realtime_bus_handler_errors_total{subscriber=flaky,type=a}`:    2,
		`realtime_bus_handler_errors_total{subscriber=dead,type=a}`:     1,
		`realtime_bus_events_dead_total{subscriber=dead,type=a}`:        1,
		`realtime_bus_events_dead_total{subscriber=flaky,type=a}`:       0,
		`realtime_bus_handler_seconds_count{subscriber=flaky,type=a}`:   3,
		`realtime_bus_handler_attempts_sum{subscriber=flaky}`:           3,
		`realtime_bus_handler_running{subscriber=flaky}`:                0,
		`realtime_bus_subscriber_paused{subscriber=flaky}`:              0,
		`realtime_bus_events_in_flight{group=suite}`:                    0,
	}

	for name, want := range wants {
		got := read(name)
		if got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// testMetricsOfManyTypes publishes more event types than have metrics of their own.
func testMetricsOfManyTypes(t *testing.T, newBus Maker) {
	const (
		types      = 300
		otherTypes = types - 256
	)

	cfg, read := withRegistry(fastConfig())
	b, _ := newBus(t, cfg)
	for range 2 {
		for i := range types {
			mustPublish(t, b, newEvent(fmt.Sprint("e", i), fmt.Sprint("type", i), "user:u"))
		}
	}

	waitUntil(t, "all events are read", func() bool {
		return read(`realtime_bus_events_unwanted_total{type=other}`) == otherTypes
	})

	for _, name := range []string{"realtime_bus_events_published_total", "realtime_bus_duplicates_total", "realtime_bus_events_unwanted_total"} {
		first := read(name + "{type=type0}")
		if first != 1 {
			t.Errorf("%s of the first type: got %v, want 1", name, first)
		}

		other := read(name + "{type=other}")
		if other != otherTypes {
			t.Errorf("%s of other types: got %v, want %d", name, other, otherTypes)
		}
	}
}
