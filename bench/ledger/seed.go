package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/bench/rawhttp"
	"github.com/redroomrewards/realtime/bench/stack"
	"github.com/redroomrewards/realtime/internal/token"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// startAmount is what each account begins with: more than any run can hold.
const startAmount = 1_000_000_000

// seed makes the database that every run starts from: migrated, each account
// credited through the core's own API, its statistics up to date.
func (b *bench) seed(ctx context.Context) error {
	if err := b.CreateDatabase(ctx, seedDatabase, ""); err != nil {
		return err
	}
	c := b.Config(seedDatabase)
	if _, err := wallet.Migrate(ctx, c.DatabaseURL); err != nil {
		return err
	}
	core, err := stack.StartCore(ctx, b.core, c)
	if err != nil {
		return err
	}
	if err = b.creditAll(ctx, core.Addr); err != nil {
		_ = core.Stop()
		return err
	}
	if err := core.Stop(); err != nil {
		return err
	}
	if err := b.Redis.Delete(ctx, c.Namespace); err != nil {
		return err
	}
	db, err := sql.Open("postgres", c.DatabaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	// Runs begin with everything published: fill hands Redis its part.
	for _, statement := range []string{`DELETE FROM outbox`, `VACUUM (ANALYZE, FREEZE)`} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// creditAll gives every account its first points.
func (b *bench) creditAll(ctx context.Context, addr string) error {
	raw, err := b.Secret.Token("bench", nil, token.ScopeCredit)
	if err != nil {
		return err
	}
	next := make(chan int, b.o.accounts)
	for n := range b.o.accounts {
		next <- n
	}
	close(next)
	var wg sync.WaitGroup
	errs := make(chan error, 256)
	for range cap(errs) {
		wg.Go(func() { errs <- creditSome(ctx, addr, raw, next) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return fmt.Errorf("credit the accounts: %w", err)
		}
	}
	return nil
}

func creditSome(ctx context.Context, addr, raw string, next <-chan int) error {
	conn, err := rawhttp.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	body := fmt.Sprintf(`{"amount":%d,"reason":"user_signup_bonus"}`, startAmount)
	for n := range next {
		if err := ctx.Err(); err != nil {
			return err
		}
		header := fmt.Sprintf("Authorization: Bearer %s\r\nIdempotency-Key: seed-%d\r\n", raw, n)
		status, answer, err := conn.Do(rawhttp.Post("/v1/accounts/"+accountOf(n)+"/credits", addr, header, body))
		if err != nil {
			return err
		}
		if status != http.StatusCreated {
			return fmt.Errorf("answered %d: %s", status, answer)
		}
	}
	return nil
}

// fill gives Redis the balance hashes of the seeded accounts, as publishing their
// first event would have.
func (b *bench) fill(ctx context.Context, namespace string) error {
	keys := bus.Keys{Namespace: namespace}.WithDefaults()
	at := time.Now().UTC().Format(bus.TimeFormat)
	const page = 10_000
	for from := 0; from < b.o.accounts; from += page {
		_, err := b.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for n := from; n < min(from+page, b.o.accounts); n++ {
				p.HSet(ctx, keys.BalanceHash(accountOf(n)), "available", startAmount, "escrow", 0, "seq", 1, "updatedAt", at)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("fill Redis: %w", err)
		}
	}
	return nil
}
