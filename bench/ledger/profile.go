package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/redroomrewards/realtime/bench/stack"
)

// saveProfiles takes a CPU profile and then an allocation profile of a server
// while it is measured.
func saveProfiles(ctx context.Context, server *stack.Server, d time.Duration, prefix string) error {
	seconds := max(1, int(d.Seconds())-1)
	for _, p := range []struct{ query, file string }{
		{fmt.Sprintf("profile?seconds=%d", seconds), prefix + ".cpu"},
		{"allocs", prefix + ".allocs"},
	} {
		if err := save(ctx, "http://"+server.Admin+"/debug/pprof/"+p.query, p.file); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
	}
	return nil
}

func save(ctx context.Context, url, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, response.Body); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
