package main

import (
	"errors"
	"net/http"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// claimedPartitions returns the partitions that Redis has for a namespace, or "" if it has none.
func claimedPartitions(t *testing.T, rdb redis.UniversalClient, namespace string) string {
	t.Helper()
	partitions, err := rdb.HGet(t.Context(), bus.Keys{Namespace: namespace}.Layout(), "partitions").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return partitions
}

func openRedisClient(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	rdb, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// A core without a usable ledger claims no partitions in Redis.
func TestServeWithoutLedgerClaimsNothing(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	rdb := openRedisClient(t, redisURL)
	for name, tc := range map[string]struct{ database, wantError string }{
		"not migrated": {testenv.Postgres(t, testenv.Schema{}), "core migrate up"},
		"unreachable":  {"postgres://core@127.0.0.1:1/points", "--database-url"},
	} {
		t.Run(name, func(t *testing.T) {
			refusal{
				database:   tc.database,
				redisURL:   redisURL,
				namespace:  ns,
				partitions: "8",
				wantError:  tc.wantError,
			}.expect(t)
			if got := claimedPartitions(t, rdb, ns); got != "" {
				t.Errorf("claimed partitions: got %s, want none", got)
			}
		})
	}
}

// A core that is refused because of its layout changes nothing in Redis, in the ledger and in the
// cores that run.
func TestServeWithOtherLayoutChangesNothing(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	_, otherNS := testenv.Redis(t)
	rdb := openRedisClient(t, redisURL)
	database := wallettest.SQLite(t)
	s := launchServe(t, database, "--redis-url", redisURL, "--namespace", ns)
	err := rdb.Del(t.Context(), bus.Keys{Namespace: ns}.Layout()).Err() // as after a loss of Redis' data
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ namespace, partitions string }{
		"other partitions": {ns, "8"},
		"other namespace":  {otherNS, "64"},
	} {
		t.Run(name, func(t *testing.T) {
			refusal{
				database:   database,
				redisURL:   redisURL,
				namespace:  tc.namespace,
				partitions: tc.partitions,
				wantError:  "--namespace must be " + ns + " and --partitions must be 64",
			}.expect(t)
		})
	}
	got := claimedPartitions(t, rdb, ns)
	if got != "" && got != "64" { // the core that runs may have claimed them again
		t.Errorf("claimed partitions: got %s, want 64 or none", got)
	}
	if got := claimedPartitions(t, rdb, otherNS); got != "" {
		t.Errorf("claimed partitions of the other namespace: got %s, want none", got)
	}
	status, answer := s.get(s.admin + "/readyz")
	if status != http.StatusOK || answer["status"] != "ready" {
		t.Errorf("/readyz of the core that runs: got %d %v, want 200 ready", status, answer)
	}
	s.stop()
}

// A refused core does not bind a new ledger to its layout.
func TestServeRefusedDoesNotBindLedger(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	s := launchServe(t, wallettest.SQLite(t), "--redis-url", redisURL, "--namespace", ns)
	database := wallettest.SQLite(t)
	refusal{
		database:   database,
		redisURL:   redisURL,
		namespace:  ns,
		partitions: "8",
		wantError:  "--partitions 64",
	}.expect(t)
	launchServe(t, database, "--redis-url", redisURL, "--namespace", ns).stop()
	s.stop()
}
