package redisconn

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// What OpenRedis sets unless the URL says otherwise, under the URL's own names.
// Every call has an end: a Redis that hangs costs seconds, not a goroutine. Reads
// must outlast a tail's BLOCK. Connections are made when needed; on a cluster each
// partition's tail holds one. RESP2, since nothing here needs push messages and
// looking for them costs a peek per reply.
func urlDefaults() map[string]string {
	return map[string]string{
		"dial_timeout":      "2s",
		"read_timeout":      "5s",
		"write_timeout":     "5s",
		"max_retries":       "2",
		"min_retry_backoff": "8ms",
		"max_retry_backoff": "128ms",
		"pool_size":         "64",
		"protocol":          "2",
	}
}

// Open makes a client for one of these URLs; nothing is dialled yet:
//
//	redis://user:password@host:6379/0
//	rediss://…                                             with TLS
//	redis+cluster://user:password@host:6379?addr=host2:6379&addr=host3:6379
//	redis+sentinel://user:password@sentinel1:26379/0?master=mymaster&addr=sentinel2:26379
//
// rediss+cluster:// and rediss+sentinel:// are the same with TLS. User and
// password are Redis' own; sentinels that want others take sentinel_username
// and sentinel_password. Further parameters are go-redis' (read_timeout=5s,
// pool_size=64, max_retries=2, client_name=… and so on). An error never repeats
// the URL's password.
func Open(rawURL string) (redis.UniversalClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the url.Error itself holds the URL and so the password
		}
		return nil, fmt.Errorf("parse redis url: %w", err)
	}
	scheme, kind, _ := strings.Cut(u.Scheme, "+")
	if scheme != "redis" && scheme != "rediss" {
		return nil, fmt.Errorf("redis url: scheme %q is unknown; use redis://, rediss://, redis+cluster:// or redis+sentinel://", u.Scheme)
	}
	u.Scheme = scheme
	q := u.Query()
	for name, value := range urlDefaults() {
		if !q.Has(name) {
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
	o.DialerRetries, o.ContextTimeoutEnabled = 1, true
	o.DisableIdentity = true // CLIENT SETINFO came with Redis 7.2
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), nil
}

func openCluster(u *url.URL, q url.Values) (redis.UniversalClient, error) {
	u.RawQuery = q.Encode()
	o, err := redis.ParseClusterURL(u.String())
	if err != nil {
		return nil, fmt.Errorf("redis url: %w", err)
	}
	o.DialerRetries, o.ContextTimeoutEnabled = 1, true
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClusterClient(o), nil
}

func openSentinel(u *url.URL, q url.Values) (redis.UniversalClient, error) {
	if q.Has("master") {
		q.Set("master_name", q.Get("master"))
	}
	if q.Get("master_name") == "" {
		return nil, errors.New("redis url: redis+sentinel:// needs ?master=NAME, the name that the sentinels know the master by")
	}
	sentinelUser, sentinelPassword := q.Get("sentinel_username"), q.Get("sentinel_password")
	for _, name := range []string{"master", "sentinel_username", "sentinel_password"} {
		q.Del(name)
	}
	// go-redis takes the URL's user for the sentinels; ours is the server's.
	user := u.User.Username()
	password, _ := u.User.Password()
	u.User = nil
	u.RawQuery = q.Encode()
	o, err := redis.ParseFailoverURL(u.String())
	if err != nil {
		return nil, fmt.Errorf("redis url: %w", err)
	}
	o.Username, o.Password = user, password
	o.SentinelUsername, o.SentinelPassword = sentinelUser, sentinelPassword
	o.DialerRetries, o.ContextTimeoutEnabled = 1, true
	o.DisableIdentity = true
	return redis.NewFailoverClient(o), nil
}
