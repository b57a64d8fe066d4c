package redisconn

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// defaultParameters returns the URL parameters that Open sets if the URL does not have them.
//
// Every call has a timeout, so that a Redis that hangs does not block a goroutine forever. The read
// timeout is longer than a tail's BLOCK. Connections are opened when needed; on a cluster the tail
// uses one for each partition. An idle connection is not used again after 5 s: if a firewall has
// forgotten the connections, only those that were used in the last 5 s need a timeout to notice it.
// A connection is replaced after about a minute in any case: if the host name leads to another server
// after a failover, the former one may still answer.
// The protocol is RESP2: the project does not use push messages, and
// with RESP3 go-redis looks for them before each reply.
func defaultParameters() map[string]string {
	return map[string]string{
		"dial_timeout":       "2s",
		"read_timeout":       "5s",
		"write_timeout":      "5s",
		"max_retries":        "2",
		"min_retry_backoff":  "8ms",
		"max_retry_backoff":  "128ms",
		"pool_size":          "64",
		"protocol":           "2",
		"conn_max_idle_time": "5s",

		"conn_max_lifetime":        "1m",
		"conn_max_lifetime_jitter": "10s",
	}
}

// Open returns a client for one of these URLs. It does not connect yet.
//
//	redis://user:password@host:6379/0
//	rediss://…                                             with TLS
//	redis+cluster://user:password@host:6379?addr=host2:6379&addr=host3:6379
//	redis+sentinel://user:password@sentinel1:26379/0?master=mymaster&addr=sentinel2:26379
//
// rediss+cluster:// and rediss+sentinel:// are the same with TLS. User and password are those of
// the Redis servers. The parameters sentinel_username and sentinel_password are for the sentinels.
// Further parameters are those of go-redis, such as read_timeout=5s, pool_size=64, max_retries=2
// and client_name. Errors never contain the URL's password.
func Open(rawURL string) (redis.UniversalClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		var urlErr *url.Error
		if errors.As(err, &urlErr) {
			err = urlErr.Err // the url.Error contains the URL with the password
		}

		return nil, fmt.Errorf("parse redis url: %w", err)
	}

	scheme, kind, _ := strings.Cut(u.Scheme, "+")
	if scheme != "redis" && scheme != "rediss" {
		return nil, fmt.Errorf("redis url: scheme %q is unknown; use redis://, rediss://, redis+cluster:// or redis+sentinel://", u.Scheme)
	}

	u.Scheme = scheme
	q := u.Query()
	for name, value := range defaultParameters() {
		isRepeatedElsewhere := kind == "cluster" && name == "max_retries" // max_redirects bounds repeats, too
		if !q.Has(name) && !isRepeatedElsewhere {
			q.Set(name, value)
		}
	}

	switch kind {
	case "":
		return openSingle(u, q)
	case "cluster":
		return openCluster(u, q)
	case "sentinel":
		return openSentinel(u, q)
	}

	return nil, fmt.Errorf("redis url: scheme %q is unknown; use %s://, %s+cluster:// or %s+sentinel://",
		scheme+"+"+kind, scheme, scheme, scheme)
}

func openSingle(u *url.URL, q url.Values) (redis.UniversalClient, error) {
	u.RawQuery = q.Encode()
	o, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, fmt.Errorf("redis url: %w", err)
	}

	o.DialerRetries = 1
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true // CLIENT SETINFO needs Redis 7.2
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

	return redis.NewClient(o), nil
}

func openCluster(u *url.URL, q url.Values) (redis.UniversalClient, error) {
	u.RawQuery = q.Encode()
	o, err := redis.ParseClusterURL(u.String())
	if err != nil {
		return nil, fmt.Errorf("redis url: %w", err)
	}

	o.DialerRetries = 1
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

	o.ClusterStateReloadInterval = slotsInterval

	rdb := redis.NewClusterClient(o)
	followCluster(rdb)
	return rdb, nil
}

func openSentinel(u *url.URL, q url.Values) (redis.UniversalClient, error) {
	if q.Has("master") {
		q.Set("master_name", q.Get("master"))
	}

	if q.Get("master_name") == "" {
		return nil, errors.New("redis url: redis+sentinel:// must have ?master=NAME, the sentinels' name of the master")
	}

	sentinelUser := q.Get("sentinel_username")
	sentinelPassword := q.Get("sentinel_password")
	for _, name := range []string{"master", "sentinel_username", "sentinel_password"} {
		q.Del(name)
	}

	// go-redis uses the URL's user for the sentinels, but it is the servers' user.
	user := u.User.Username()
	password, _ := u.User.Password()
	u.User = nil
	u.RawQuery = q.Encode()
	o, err := redis.ParseFailoverURL(u.String())
	if err != nil {
		return nil, fmt.Errorf("redis url: %w", err)
	}

	o.Username = user
	o.Password = password
	o.SentinelUsername = sentinelUser
	o.SentinelPassword = sentinelPassword
	o.DialerRetries = 1
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true

	return redis.NewFailoverClient(o), nil
}
