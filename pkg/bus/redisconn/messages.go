package redisconn

import (
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// FirstID returns the id of the first entry, or the zero ID if there are no entries.
func FirstID(messages []redis.XMessage) (streamentry.ID, error) {
	if len(messages) == 0 {
		return streamentry.ID{}, nil
	}

	id, ok := streamentry.ParseID([]byte(messages[0].ID))
	if !ok {
		return streamentry.ID{}, fmt.Errorf("%w: entry id %q", resp.ErrProtocol, messages[0].ID)
	}

	return id, nil
}
