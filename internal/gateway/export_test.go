package gateway

import (
	"context"
	"time"
)

// SendAway drains the gateway's hub.
func (g *Gateway) SendAway(ctx context.Context, window time.Duration) { g.hub.Drain(ctx, window) }
