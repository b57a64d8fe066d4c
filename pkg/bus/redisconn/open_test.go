package redisconn_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

func TestOpenRedisReadsURLs(t *testing.T) {
	single, err := redisconn.Open("rediss://u:p@h:1/3?read_timeout=9s")
	if err != nil {
		t.Fatal(err)
	}
	defer single.Close()
	o := single.(*redis.Client).Options()
	if o.Addr != "h:1" || o.DB != 3 || o.Username != "u" || o.Password != "p" || o.TLSConfig == nil ||
		o.ReadTimeout != 9*time.Second || o.WriteTimeout != 5*time.Second || o.DialTimeout != 2*time.Second || o.MaxRetries != 2 {
		t.Errorf("rediss: %+v", o)
	}
	cluster, err := redisconn.Open("redis+cluster://u:p@h:1?addr=i:2&addr=j:3")
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	c := cluster.(*redis.ClusterClient).Options()
	if got := fmt.Sprint(c.Addrs); got != "[h:1 i:2 j:3]" || c.Password != "p" || c.ReadTimeout != 5*time.Second {
		t.Errorf("cluster: %+v", c)
	}
	sentinel, err := redisconn.Open("redis+sentinel://u:p@h:1/2?master=m&addr=i:2&sentinel_password=s")
	if err != nil {
		t.Fatal(err)
	}
	defer sentinel.Close()
	if f := sentinel.(*redis.Client).Options(); f.Username != "u" || f.Password != "p" || f.DB != 2 {
		t.Errorf("sentinel: %+v", f)
	}
}

func TestOpenRedisRefusesAndKeepsThePassword(t *testing.T) {
	for _, url := range []string{
		"", "localhost:6379", "http://u:secret@h", "redis+tcp://u:secret@h:1", "redis://u:secret@h:x1",
		"redis+sentinel://u:secret@h:1", "redis://u:secret@h:1/?nonsense=1", "redis://u:secret%@h",
	} {
		rdb, err := redisconn.Open(url)
		if err == nil {
			_ = rdb.Close()
			t.Errorf("%q: no error", url)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error shows the password: %v", url, err)
		}
	}
}
