package bustest

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// withRegistry gives a bus a registry. read returns a metric's value: name{label=value,…}, labels sorted; histograms have
// _count and _sum; absent is 0.
func withRegistry(cfg bus.Config) (with bus.Config, read func(name string) float64) {
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	return cfg, func(name string) float64 {
		families, err := registry.Gather()
		if err != nil {
			return -1
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if v, ok := value(f.GetName(), m)[name]; ok {
					return v
				}
			}
		}
		return 0
	}
}

func value(family string, m *dto.Metric) map[string]float64 {
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
	return map[string]float64{family + "_count" + suffix: float64(h.GetSampleCount()), family + "_sum" + suffix: h.GetSampleSum()}
}
