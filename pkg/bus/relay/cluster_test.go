package relay_test

import (
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

func TestClusterIsServedSoonAfterAMasterCrashed(t *testing.T) {
	t.Parallel()
	t.Run("killed", func(t *testing.T) { testCrashedMaster(t, (*testenv.Server).Kill) })
	t.Run("silent", func(t *testing.T) { testCrashedMaster(t, (*testenv.Server).Stop) })
}

// testCrashedMaster checks that the events of a crashed master's partitions are shown soon after the
// election of its replica, which takes 3 to 4 s.
func testCrashedMaster(t *testing.T, crash func(*testenv.Server)) {
	t.Parallel()
	cluster := testenv.RedisCluster(t, 2*time.Second)
	w := newReadersWorld(t, cluster.URL())
	account := w.accounts[0]
	master := cluster.MasterOf(w.keys.Stream(0))
	crash(master)
	cluster.WaitForFailover(w.keys.Stream(0), master)
	w.waitUntilShown(t, account, w.src.lastSeq(account)+2)
}

func TestMovedSlotIsServedSoon(t *testing.T) {
	t.Parallel()
	cluster := testenv.RedisCluster(t, 2*time.Second)
	w := newReadersWorld(t, cluster.URL())
	account := w.accounts[0]
	move := cluster.BeginSlotMove(w.keys.Stream(0))
	move.MoveKeys()
	other := w.accounts[1]
	w.waitUntilShown(t, other, w.src.lastSeq(other)+60) // 3 s, longer than tail.Config.Check
	move.Finish()
	w.waitUntilShown(t, account, w.src.lastSeq(account)+2)
}
