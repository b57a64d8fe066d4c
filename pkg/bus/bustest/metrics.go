package bustest

import (
	"strings"

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
