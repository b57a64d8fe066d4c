package ws

import (
	"fmt"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// findFamily returns the metrics with the name.
func findFamily(t *testing.T, reg prometheus.Gatherer, name string) []*dto.Metric {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()
		}
	}
	return nil
}

// readMetric returns the value of a counter or gauge. If it has a label, readMetric returns the
// value for that label value.
func readMetric(t *testing.T, reg prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	for _, m := range findFamily(t, reg, name) {
		labels := m.GetLabel()
		if len(labels) == 0 || labels[0].GetValue() == label {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return 0
}

func checkMetric(t *testing.T, reg prometheus.Gatherer, name, label string, want float64) {
	t.Helper()
	checkEqual(t, name+" of "+label, readMetric(t, reg, name, label), want)
}

// waitForMetric waits until the metric has the value.
func waitForMetric(t *testing.T, reg prometheus.Gatherer, name, label string, want float64) {
	t.Helper()
	waitUntil(t, fmt.Sprintf("%s of %s is %v", name, label, want), func() bool {
		return readMetric(t, reg, name, label) == want
	})
}

// The close codes that clients choose share one series, so that clients cannot create series.
func TestClientCloseCodesShareOneSeries(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg})
	for _, code := range []websocket.StatusCode{1000, 3000, 4000, 4001, 4401, 4999} {
		_ = g.login("user:u1").ws.Close(code, "")
	}
	waitForMetric(t, reg, "realtime_gateway_closes_total", "1000", 1)
	waitForMetric(t, reg, "realtime_gateway_closes_total", "4401", 1)
	waitForMetric(t, reg, "realtime_gateway_closes_total", "other", 4)
	checkMetric(t, reg, "realtime_gateway_closes_total", "3000", 0)
}

// The latency of replayed events is not observed.
func TestLatencyIsOfLiveEvents(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg})
	deliverAt := func(at time.Time) {
		batch := g.ledger.publishEvents("user:u1", 2)
		for i := range batch {
			batch[i].StreamMillis = at.UnixMilli()
		}
		g.hub.Deliver(batch, false)
	}
	deliverAt(time.Now().Add(-time.Hour))
	c := g.login("user:u1")
	c.sendResume(0)
	c.expectResumed(0)
	c.expectEvents("s", "user:u1", 1, 2)
	deliverAt(time.Now())
	c.expectEvents("s", "user:u1", 3, 4)

	var latency *dto.Histogram
	waitUntil(t, "the write of the live events is observed", func() bool {
		metrics := findFamily(t, reg, "realtime_gateway_stream_to_socket_seconds")
		latency = metrics[0].GetHistogram()
		return latency.GetSampleCount() > 0
	})
	if latency.GetSampleSum() > 60 {
		t.Errorf("latency of %d writes: got %v s, want less than 60 s",
			latency.GetSampleCount(), latency.GetSampleSum())
	}
}
