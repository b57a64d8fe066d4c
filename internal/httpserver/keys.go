package httpserver

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/internal/auth"
)

// AddKeys adds the metrics of the keys that verify tokens and, if a JWKS URL is configured, the
// check jwks. Call it before serving.
func (a *Admin) AddKeys(v *auth.Verifier) {
	a.Registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "jwks_fetch_errors_total", Help: "Fetches of the JWKS URL that failed.",
		}, func() float64 { return float64(v.Published().Failures) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "jwks_keys_age_seconds", Help: "Since the keys of the JWKS URL were fetched; 0: never, or there is no URL.",
		}, func() float64 { return v.Published().Age.Seconds() }),
	)
	if keys := v.Published(); keys.Configured {
		// With other keys some tokens can be verified.
		a.AddCheck(Check{Name: "jwks", Degrades: !keys.Only, Ping: func(context.Context) error { return v.Published().Missing }})
	}
}
