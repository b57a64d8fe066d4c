package httpserver

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/internal/auth"
)

// AddKeys adds the metrics of the verifier's JWKS keys. If a JWKS URL is configured, it adds the
// check jwks. Call it before serving.
func (a *Admin) AddKeys(v *auth.Verifier) {
	a.Registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "realtime_jwks_fetch_errors_total",
			Help: "Failed fetches of the JWKS URL.",
		}, func() float64 { return float64(v.Published().Failures) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "realtime_jwks_keys_age_seconds",
			Help: "Seconds since the last successful fetch of the JWKS URL. 0 if there was none.",
		}, func() float64 { return v.Published().Age.Seconds() }),
	)

	keys := v.Published()
	if !keys.Configured {
		return
	}
	a.AddCheck(Check{
		Name:     "jwks",
		Degrades: !keys.Only, // other keys can still verify some tokens
		Ping:     func(context.Context) error { return v.Published().Missing },
	})
}
