package gateway

import "github.com/prometheus/client_golang/prometheus"

// Registry is what the gateway exports.
func (g *Gateway) Registry() *prometheus.Registry { return g.admin.Registry }
