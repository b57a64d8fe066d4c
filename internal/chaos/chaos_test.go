package chaos

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

var (
	minutes    = flag.Float64("minutes", 0, "how long to run; 0: one short episode")
	seed       = flag.Uint64("seed", 1, "seed of the first episode; each further one has the next seed")
	only       = flag.String("faults", "", "regular expression: only faults of these kinds, one at a time")
	reportFile = flag.String("report", "", "file with the report as JSON, to which this run is added")
	form       = flag.String("redis", "single", "form of Redis: "+strings.Join(redisForms, ", "))
)

const (
	shortEpisode = 12 * time.Second
	longEpisode  = time.Minute
)

// isLossy reports whether backups are restored in the episode of a seed. What happens then is checked
// less strictly, so most episodes have none.
func isLossy(seed uint64) bool { return seed%5 == 4 }

// TestChaos runs episodes until the time is over or a promise is broken. An episode of its own seed
// reproduces the faults of an episode of a longer run.
func TestChaos(t *testing.T) {
	if *minutes == 0 {
		t.Parallel()
	}
	r := newReport(t, *reportFile)
	began := time.Now()
	length := time.Duration(*minutes * float64(time.Minute))
	for n := uint64(0); n == 0 || time.Since(began) < length; n++ {
		o := episodeOptions{seed: *seed + n, redis: *form, lossy: isLossy(*seed + n), length: longEpisode, report: r}
		if *minutes == 0 {
			o.length = shortEpisode
		}
		ok := t.Run(fmt.Sprint("seed ", o.seed), func(t *testing.T) { runEpisode(t, o) })
		if !ok {
			t.Errorf("to reproduce it: scripts/chaos --seed %d --minutes 1 --redis %s", o.seed, o.redis)
			break
		}
	}
	if *reportFile != "" {
		r.save(t, *reportFile)
	}
	t.Logf("%s", r)
}
