package redisconn_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

func openURL(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	rdb, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// option is an option of a client, as text.
type option struct {
	name string
	got  any
	want string
}

func requireOptions(t *testing.T, options []option) {
	t.Helper()
	for _, o := range options {
		got := fmt.Sprint(o.got)
		if got != o.want {
			t.Errorf("%s: got %s, want %s", o.name, got, o.want)
		}
	}
}

func TestOpenSingleServer(t *testing.T) {
	o := openURL(t, "rediss://u:p@h:1/3?read_timeout=9s").(*redis.Client).Options()
	requireOptions(t, []option{
		{"address", o.Addr, "h:1"},
		{"database", o.DB, "3"},
		{"user", o.Username, "u"},
		{"password", o.Password, "p"},
		{"TLS", o.TLSConfig != nil, "true"},
		{"read timeout", o.ReadTimeout, fmt.Sprint(9 * time.Second)},
		{"write timeout", o.WriteTimeout, fmt.Sprint(5 * time.Second)},
		{"dial timeout", o.DialTimeout, fmt.Sprint(2 * time.Second)},
		{"retries", o.MaxRetries, "2"},
		{"lifetime of connections", o.ConnMaxLifetime, fmt.Sprint(time.Minute)},
	})
}

func TestOpenCluster(t *testing.T) {
	o := openURL(t, "redis+cluster://u:p@h:1?addr=i:2&addr=j:3").(*redis.ClusterClient).Options()
	requireOptions(t, []option{
		{"addresses", o.Addrs, "[h:1 i:2 j:3]"},
		{"password", o.Password, "p"},
		{"read timeout", o.ReadTimeout, fmt.Sprint(5 * time.Second)},
		{"lifetime of connections", o.ConnMaxLifetime, fmt.Sprint(time.Minute)},
	})
}

func TestOpenSentinel(t *testing.T) {
	o := openURL(t, "redis+sentinel://u:p@h:1/2?master=m&addr=i:2&sentinel_password=s").(*redis.Client).Options()
	requireOptions(t, []option{
		{"user", o.Username, "u"},
		{"password", o.Password, "p"},
		{"database", o.DB, "2"},
		{"lifetime of connections", o.ConnMaxLifetime, fmt.Sprint(time.Minute)},
	})
}

func TestOpenRefusesInvalidURLsWithoutShowingThePassword(t *testing.T) {
	urls := []string{
		"",
		"localhost:6379",
		"http://u:secret@h",
		"redis+tcp://u:secret@h:1",
		"redis://u:secret@h:x1",
		"redis+sentinel://u:secret@h:1",
		"redis://u:secret@h:1/?nonsense=1",
		"redis://u:secret%@h",
	}
	for _, url := range urls {
		t.Run(url, func(t *testing.T) {
			rdb, err := redisconn.Open(url)
			if err == nil {
				_ = rdb.Close()
				t.Fatal("got no error")
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("got error %v, want it without the password", err)
			}
		})
	}
}

// TestSilentConnectionsAreReplaced makes many idle connections silent, as a firewall does that has
// forgotten them. New ones work.
func TestSilentConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	proxy := testenv.NewProxy(t, testenv.RedisServer(t).Addr())
	rdb := openURL(t, "redis://"+proxy.Addr()).(*redis.Client)
	var conns []*redis.Conn
	for range 20 {
		conn := rdb.Conn()
		conns = append(conns, conn)
		err := conn.Ping(t.Context()).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, conn := range conns {
		_ = conn.Close() // returns it to the pool
	}
	proxy.SilenceLinks()
	start := time.Now()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := rdb.Ping(ctx).Err()
		cancel()
		if err == nil {
			break
		}
	}
	took := time.Since(start)
	if took > time.Minute {
		t.Errorf("got an answer after %s, want at most a minute", took)
	}
}

// TestConnectionsFollowTheAddress makes the address lead to another server, while the former one goes
// on answering on its connections.
func TestConnectionsFollowTheAddress(t *testing.T) {
	t.Parallel()
	former := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, former.Addr())
	rdb := openURL(t, "redis://"+proxy.Addr()+"?conn_max_lifetime=100ms&conn_max_lifetime_jitter=0")
	before := rdb.ConfigGet(t.Context(), "port").Val()["port"]
	if before == "" {
		t.Fatal("port of the former server: got none")
	}
	proxy.SetTarget(testenv.RedisServer(t).Addr())
	for deadline := time.Now().Add(time.Minute); ; {
		port := rdb.ConfigGet(t.Context(), "port").Val()["port"]
		if port != "" && port != before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("not within a minute: a connection to the new server")
		}
	}
}
