package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// registerChecks adds the checks of /readyz.
func (g *Gateway) registerChecks() {
	g.admin.AddCheck(httpserver.Check{Name: "redis", Ping: g.checkRedis})
	g.admin.AddCheck(httpserver.Check{Name: "streams", Ping: g.checkStreams})
	// The core is needed for history only. The gateway serves what it has in memory and in Redis
	// without it.
	g.admin.AddCheck(httpserver.Check{Name: "core", Ping: g.core.Ping, Degrades: true})
	// Nor does the gateway need its token for the core otherwise.
	g.admin.AddCheck(httpserver.Check{Name: "core_token", Ping: g.coreToken.check, Degrades: true})
	// Clients stay connected while their accounts are compared, and those that are behind are caught
	// up. After an outage of Redis all gateways compare at once, so they must stay ready.
	g.admin.AddCheck(httpserver.Check{Name: "history", Ping: g.checkHistory, Degrades: true})
	// The core answers for Redis while Redis lacks committed events. All gateways are affected alike.
	g.admin.AddCheck(httpserver.Check{Name: "balances", Ping: g.freshness.check, Degrades: true})
	// Revocations come from Redis, so a gateway without the control channel may accept revoked
	// tokens.
	g.admin.AddCheck(httpserver.Check{Name: "control", Ping: g.control.checkChannel})
	g.admin.AddKeys(g.verifier)
	g.admin.AddProfiles(revocationVerifier{g})
}

// checkRedis reports whether Redis answers and has the layout of this gateway. If a part of a cluster
// does not answer, the gateway serves the accounts of the other parts.
func (g *Gateway) checkRedis(ctx context.Context) error {
	err := g.layout.Check(ctx)
	if err == nil || errors.Is(err, bus.ErrLayout) || !g.isCluster {
		return err
	}

	starting, failing := g.tail.Status()
	if len(starting)+len(failing) == g.cfg.Keys.Partitions {
		return err
	}
	return httpserver.Degraded(err)
}

// checkStreams reports whether the streams are being read and are those that the core writes. If
// only some are being read, the gateway serves the accounts of these. It has the balances and the
// history of the other accounts from the core, and their clients get new events later.
func (g *Gateway) checkStreams(ctx context.Context) error {
	starting, failing := g.tail.Status()
	switch {
	case len(failing) == g.cfg.Keys.Partitions:
		return errors.New("the streams cannot be read at the moment")
	case len(starting) > 0:
		return errors.New("the entries published before the start are still being read")
	}

	err := g.core.CheckStreams(ctx, g.cfg.Keys)
	if err != nil {
		g.limitLog.Do(func() { g.cfg.Logger.Error("checking that the streams are the core's failed", "error", err) })
		return err
	}

	if len(failing) > 0 {
		return httpserver.Degraded(fmt.Errorf("the streams of %d of %d partitions cannot be read at the moment: %s",
			len(failing), g.cfg.Keys.Partitions, bus.FormatPartitions(failing)))
	}
	return nil
}

// checkChannel reports whether revocations and admin calls of other gateways arrive.
func (c *control) checkChannel(context.Context) error {
	switch {
	case !c.loaded.Load():
		return errors.New("revocations have not been loaded yet")
	case !c.subscribed.Load():
		return errors.New("the control channel is not subscribed at the moment")
	}
	return nil
}
