package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// A fork is an account of which Redis has another history than the ledger: the ledger lost commits
// that were published. Nothing more can be published for the account until it is rewound to the
// newest event that both histories have (common_point.go, rewind.go).

// maxSuspects bounds the accounts that wait to be compared with the ledger. If one of them is a
// fork, all accounts are compared, so the others are found too.
const maxSuspects = 10_000

// hashState is the history in an account's balance hash.
type hashState struct {
	seq       int64 // or seqAbsent, seqInvalid, seqUnknown
	chain     bus.Chain
	hasChain  bool
	seqText   string // fields as Redis has them
	chainText string
}

// Values of hashState.seq that are not a seq.
const (
	seqAbsent  = -1 // the hash does not exist or has no valid seq
	seqInvalid = -2 // the key is not a hash
	seqUnknown = -3 // Redis did not answer
)

// fork is an account whose histories in Redis and in the ledger differ.
type fork struct {
	account string
	hash    hashState
	newest  bus.Position // in the ledger
	void    bus.Chain    // of the newest entry in the stream, if the ledger is known not to have it
	common  bus.Position // once isFound
	isFound bool         // the common point is known

	published []string // deduplication keys of the updates after the common point in the stream

	oldest int64 // smallest seq of the account that was found in the stream; 0: none
	limit  int64 // entries with a higher seq are void, since a later marker says so
}

// lag is an account of which Redis has a part of the ledger's history.
type lag struct {
	account string
	seq     int64 // in Redis
	newest  int64 // in the ledger
}

// suspectFork records an account whose history in Redis may differ from the ledger's. Usually
// another process has just published. The next pass of the sweep compares it. void is the chain of the
// newest entry in the stream, if the ledger is known not to have it. Otherwise it is 0.
func (r *Relay) suspectFork(account string, void bus.Chain) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.suspects == nil {
		r.suspects = make(map[string]bus.Chain)
	}

	_, known := r.suspects[account]
	if known || len(r.suspects) < maxSuspects {
		r.suspects[account] = cmp.Or(void, r.suspects[account])
	}
}

// checkSuspects compares the accounts that suspectFork recorded, and repairs the forks.
func (s *sweeper) checkSuspects(ctx context.Context) error {
	s.mu.Lock()
	suspects := s.suspects
	s.suspects = nil
	s.mu.Unlock()

	if len(suspects) == 0 {
		return nil
	}

	accounts := make([]string, 0, len(suspects))
	for account := range suspects {
		accounts = append(accounts, account)
	}

	_, err := s.repairSuspects(ctx, accounts, suspects)
	if err != nil {
		for account, void := range suspects {
			s.suspectFork(account, void)
		}
	}

	return err
}

// repairSuspects compares accounts, repairs the forks and returns their accounts. If there is one,
// other accounts may differ too, so all of them must be compared.
func (s *sweeper) repairSuspects(ctx context.Context, accounts []string, voids map[string]bus.Chain) (repaired map[string]bool, err error) {
	repaired = map[string]bool{}
	for page := range slices.Chunk(accounts, comparePage) {
		forks, _, err := s.compareHashes(ctx, page, voids)
		if err != nil {
			return repaired, err
		}

		if len(forks) == 0 {
			continue
		}

		// The key must exist before the first rewind. If this process dies before it has published
		// what follows the common point, another one finds the accounts.
		s.requireFullComparison(ctx)
		err = s.repairForks(ctx, forks)
		if err != nil {
			return repaired, err
		}

		for _, f := range forks {
			repaired[f.account] = true
		}
	}

	return repaired, nil
}

// compareHashes compares the balance hashes of accounts with the ledger. The ledger is read after
// the hashes: an event that was published was committed before, so a hash that is ahead is a fork.
// An account without a hash is a fork only if its stream is known to differ.
func (s *sweeper) compareHashes(ctx context.Context, accounts []string, voids map[string]bus.Chain) (forks []*fork, lags []lag, err error) {
	hashes, err := s.readHashes(ctx, accounts)
	if err != nil {
		return nil, nil, err
	}

	newest, err := s.readPositions(ctx, accounts)
	if err != nil {
		return nil, nil, err
	}

	var behind []int // indexes of hashes that are behind the ledger
	var positions []bus.Position
	addFork := func(i int) {
		forks = append(forks, &fork{account: accounts[i], hash: hashes[i], newest: newest[i], void: voids[accounts[i]]})
	}

	for i, h := range hashes {
		switch {
		case h.seq == seqAbsent && h.seqText == "" && voids[accounts[i]] != 0:
			addFork(i)
		case h.seq < 0:
		case !h.hasChain || h.seq > newest[i].Seq:
			addFork(i)
		case h.seq == newest[i].Seq:
			if h.chain != newest[i].Chain {
				addFork(i)
			}
		case h.seq == 0:
			lags = append(lags, lag{account: accounts[i], newest: newest[i].Seq})
		default:
			behind = append(behind, i)
			positions = append(positions, bus.Position{Account: accounts[i], Seq: h.seq, Chain: h.chain})
		}
	}

	same, err := s.findInLedger(ctx, positions)
	if err != nil {
		return nil, nil, err
	}

	for k, i := range behind {
		if same[k] {
			lags = append(lags, lag{account: accounts[i], seq: hashes[i].seq, newest: newest[i].Seq})
		} else {
			addFork(i)
		}
	}

	return forks, lags, nil
}

// readHashes reads the history of each account's balance hash.
func (s *sweeper) readHashes(ctx context.Context, accounts []string) ([]hashState, error) {
	limited, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.SliceCmd, len(accounts))

	for i, account := range accounts {
		cmds[i] = pipe.HMGet(limited, s.keys.BalanceHash(account), "seq", "chain")
	}

	_, _ = pipe.Exec(limited) // each command has its own error

	hashes := make([]hashState, len(accounts))
	unanswered := map[int]bool{} // partitions
	anyAnswered := false
	var failed error

	for i, cmd := range cmds {
		values, err := cmd.Result()
		switch {
		case err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"):
			hashes[i].seq = seqInvalid
			anyAnswered = true
		case err != nil:
			hashes[i].seq = seqUnknown
			unanswered[s.keys.Partition(accounts[i])] = true
			failed = fmt.Errorf("read balance hashes: %w", err)
		default:
			hashes[i] = parseHash(values)
			anyAnswered = true
		}
	}

	if failed != nil && ctx.Err() == nil {
		failed = s.markUnavailable(unanswered, anyAnswered, failed)
	}

	return hashes, failed
}

func parseHash(values []any) hashState {
	h := hashState{seq: seqAbsent}
	h.seqText, _ = values[0].(string)
	h.chainText, _ = values[1].(string)
	seq, err := strconv.ParseInt(h.seqText, 10, 64)
	if err == nil && seq >= 0 {
		h.seq = seq
	}

	h.chain, err = bus.ParseChain(h.chainText)
	h.hasChain = err == nil
	return h
}

// recordFailedPartition marks a partition as unavailable after a failed read of its stream.
func (s *sweeper) recordFailedPartition(ctx context.Context, partition int, err error) error {
	if ctx.Err() != nil || errors.Is(err, errLedgerReplaced) {
		return err
	}

	isReply := redis.HasErrorPrefix(err, "WRONGTYPE")
	return s.markUnavailable(map[int]bool{partition: true}, isReply, err)
}
