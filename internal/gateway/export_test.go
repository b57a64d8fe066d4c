package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus/tail"
	"github.com/redroomrewards/realtime/pkg/ws"
)

// MaxKnownRevocations bounds the revocations in a gateway's memory.
const MaxKnownRevocations = maxKnownRevocations

// Registry returns the gateway's metrics.
func (g *Gateway) Registry() *prometheus.Registry { return g.admin.Registry }

// Hub returns the hub that clients are connected to.
func (g *Gateway) Hub() *ws.Hub { return g.hub }

// DeliverBatch delivers entries like the tail.
func (g *Gateway) DeliverBatch(b tail.Batch) { g.deliverBatch(b) }
