package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/internal/coreclient"
)

const (
	// tokenFileCheck is the interval at which the file with the token for the core is read.
	tokenFileCheck = time.Second
	// tokenUse is the interval at which the token is used, so that a gateway whose clients need
	// nothing from the core notices that the core refuses the token.
	tokenUse = 15 * time.Second
	// tokenLogInterval is the least time between two log lines of one kind about the token.
	tokenLogInterval = time.Minute
)

// coreToken watches the gateway's token for the core: it renews it from its file, and reports when
// the core refuses it or it is about to expire.
type coreToken struct {
	core *coreclient.Client
	log  *slog.Logger

	limitRenewalLog rate.Sometimes
	limitStateLog   rate.Sometimes
}

func newCoreToken(core *coreclient.Client, log *slog.Logger, reg prometheus.Registerer) *coreToken {
	c := &coreToken{core: core, log: log}
	c.limitRenewalLog.Interval = tokenLogInterval
	c.limitStateLog.Interval = tokenLogInterval
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "realtime_gateway_core_token_expiry_timestamp_seconds",
			Help: "When the token for the core expires, in seconds since 1970. 0 if it is not known.",
		}, c.readExpiry),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "realtime_gateway_core_token_expiring",
			Help: "1 if less than a day or a tenth of the life of the token for the core is left, whichever is shorter.",
		}, func() float64 { return asGauge(core.Token().Expiring) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "realtime_gateway_core_token_refused",
			Help: "1 if the core refused the token of the gateway when it was last used.",
		}, func() float64 { return asGauge(core.Token().Refused != "") }),
	)
	return c
}

func asGauge(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c *coreToken) readExpiry() float64 {
	expiry := c.core.Token().Expiry
	if expiry.IsZero() {
		return 0
	}
	return float64(expiry.Unix())
}

// check is a health check. Without the core the gateway serves what it has in memory and in Redis.
func (c *coreToken) check(context.Context) error { return c.core.Token().Check() }

// run watches the token until ctx ends.
func (c *coreToken) run(ctx context.Context) error {
	tick := time.NewTicker(tokenFileCheck)
	defer tick.Stop()
	var used time.Time
	for {
		if time.Since(used) >= tokenUse {
			_ = c.core.Ping(ctx) // the token's state has the result
			used = time.Now()
		}
		c.renew(ctx)
		c.report()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *coreToken) renew(ctx context.Context) {
	renewed, err := c.core.Renew(ctx)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, coreclient.ErrRefused): // once for each new token
		c.log.Error("renewing the token for the core failed", "error", err)
	case err != nil:
		c.limitRenewalLog.Do(func() { c.log.Error("renewing the token for the core failed", "error", err) })
	case renewed:
		c.log.Info("token for the core was renewed", "expiry", c.core.Token().Expiry)
	}
}

func (c *coreToken) report() {
	err := c.core.Token().Check()
	if err != nil {
		c.limitStateLog.Do(func() { c.log.Error("the gateway's token for the core must be renewed", "error", err) })
	}
}
