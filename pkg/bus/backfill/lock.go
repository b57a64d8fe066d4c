package backfill

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed lock.lua
var lockSource string

//go:embed save.lua
var saveSource string

//go:embed unlock.lua
var unlockSource string

//go:embed add.lua
var addSource string

//go:embed store_seam.lua
var storeSeamSource string

var (
	lockScript      = redis.NewScript(lockSource)
	saveScript      = redis.NewScript(saveSource)
	unlockScript    = redis.NewScript(unlockSource)
	addScript       = redis.NewScript(addSource)
	storeSeamScript = redis.NewScript(storeSeamSource)
)

// ErrLocked means that another process copies for this name.
var ErrLocked = errors.New("another process reads the history for this name")

// errLockLost means that this process was silent for so long that its lock has ended.
var errLockLost = errors.New("the lock of the backfill has ended")

const (
	lockTime    = 10 * time.Second
	readTimeout = 8 * time.Second // of a page of the history
	callTimeout = 5 * time.Second // of a call to Redis
)

// lock is the right to copy for one name.
type lock struct {
	c     *Copier
	token string
	fence int64
}

func (c *Copier) lockKey() string { return c.hashKey(0) + ":" + c.cfg.Name + ":lock" }

// acquireLock returns ErrLocked if another process has the lock.
func (c *Copier) acquireLock(ctx context.Context) (*lock, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	token := rand.Text()
	keys := []string{c.lockKey(), c.hashKey(0)}
	fence, err := lockScript.Run(ctx, c.rdb, keys, c.cfg.Name, token, lockTime.Milliseconds()).Int64()
	if err != nil {
		return nil, fmt.Errorf("lock the backfill: %w", err)
	}

	if fence == 0 {
		return nil, ErrLocked
	}

	return &lock{c: c, token: token, fence: fence}, nil
}

// save extends the lock. If job is not nil, it also stores the job.
func (l *lock) save(ctx context.Context, job *Job) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	state := ""
	if job != nil {
		encoded, err := json.Marshal(job)
		if err != nil {
			return err
		}

		state = string(encoded)
	}

	keys := []string{l.c.lockKey(), l.c.hashKey(0)}
	saved, err := saveScript.Run(ctx, l.c.rdb, keys, l.c.cfg.Name, l.token, lockTime.Milliseconds(), state).Int()
	switch {
	case err != nil:
		return fmt.Errorf("store the backfill: %w", err)
	case saved == 0:
		return errLockLost
	}

	return nil
}

// release ends the lock. If Redis does not answer, the lock ends by itself.
func (l *lock) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()

	_ = unlockScript.Run(ctx, l.c.rdb, []string{l.c.lockKey()}, l.token).Err()
}
