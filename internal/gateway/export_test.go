package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/ws"
)

// MaxHeld bounds the revocations in a gateway's memory.
const MaxHeld = maxHeld

// Registry is what the gateway exports.
func (g *Gateway) Registry() *prometheus.Registry { return g.admin.Registry }

// Hub is what clients are connected to.
func (g *Gateway) Hub() *ws.Hub { return g.hub }
