// Command run plays the scenarios with an adapter of a client.
//
//	run -adapter "node adapter.js" [-list applies.json] [-mutate] [-v] [PART-OF-A-NAME-OR-FILE…]
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/clients/scenarios"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/mutate"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/play"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/script"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	command := flag.String("adapter", "", "command that starts the client's adapter")
	list := flag.String("list", "", "file that says for each scenario whether it applies to the client")
	mutants := flag.Bool("mutate", false, "play the scenarios with faults, with which they must fail")
	verbose := flag.Bool("v", false, "print the transcripts of all scenarios")
	wait := flag.Duration("wait", 30*time.Second, "how long to wait for something that must happen")
	adapters := flag.Int("adapters", 4, "how many adapters run at a time")
	flag.Parse()
	if *command == "" {
		return errors.New("-adapter must be the command of an adapter")
	}
	all, err := scenarios.Load()
	if err != nil {
		return err
	}
	if *list != "" {
		all, err = selectListed(all, *list)
		if err != nil {
			return err
		}
	}
	all = selectNamed(all, flag.Args())
	if len(all) == 0 {
		return errors.New("the arguments must be parts of the names or files of scenarios")
	}
	suite := play.Suite{Command: strings.Fields(*command), Wait: *wait, Adapters: *adapters}
	if *mutants {
		suite.Wait = mutate.Wait
		return playMutants(suite, all)
	}
	return playAll(suite, all, *verbose)
}

// playMutants plays scenarios with faults. Each must fail.
func playMutants(suite play.Suite, all []script.Scenario) error {
	var mutants []script.Scenario
	for _, s := range all {
		of, err := mutate.Mutants(s)
		if err != nil {
			return err
		}
		mutants = append(mutants, of...)
	}
	var failed, passed int
	_, _, err := suite.Run(mutants, func(r play.Result) {
		switch {
		case r.Missing != nil:
		case r.Err != nil:
			failed++
		default:
			passed++
			fmt.Printf("PASS  %s, and must fail\n%s\n\n", r.Scenario.Name, r.Transcript)
		}
	})
	if err != nil {
		return err
	}
	fmt.Printf("%d mutants failed, %d passed\n", failed, passed)
	if passed > 0 || failed == 0 {
		return errors.New("all mutants must fail, and there must be some")
	}
	return nil
}

func playAll(suite play.Suite, all []script.Scenario, verbose bool) error {
	began := time.Now()
	var passed, failed, skipped int
	client, features, err := suite.Run(all, func(r play.Result) {
		switch {
		case r.Missing != nil:
			skipped++
			fmt.Printf("skip  %s: needs %s\n", r.Scenario.Name, strings.Join(r.Missing, ", "))
		case r.Err != nil:
			failed++
			fmt.Printf("FAIL  %v\n\n", r.Err)
		default:
			passed++
			fmt.Printf("ok    %s (%d ms)\n", r.Scenario.Name, r.Took.Milliseconds())
			if verbose {
				fmt.Println(r.Transcript)
			}
		}
	})
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d passed, %d skipped, %d failed (%.1f s)\n", client, passed, skipped, failed, time.Since(began).Seconds())
	if failed > 0 {
		return fmt.Errorf("%d scenarios failed", failed)
	}
	return scenarios.CheckFeatures(client, features)
}

// selectNamed returns the scenarios whose name or file has one of the parts. Without parts, it
// returns all.
func selectNamed(all []script.Scenario, parts []string) []script.Scenario {
	if len(parts) == 0 {
		return all
	}
	var selected []script.Scenario
	for _, s := range all {
		if slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(s.File+" "+s.Name, p) }) {
			selected = append(selected, s)
		}
	}
	return selected
}

// selectListed returns the scenarios that apply to a client. The file must list every scenario, under
// "applies" or under "rest" with a reason.
func selectListed(all []script.Scenario, file string) ([]script.Scenario, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list struct {
		Applies []string            `json:"applies"`
		Rest    map[string][]string `json:"rest"` // names by reason
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	listed := slices.Clone(list.Applies)
	for _, names := range list.Rest {
		listed = append(listed, names...)
	}
	var selected []script.Scenario
	for _, s := range all {
		i := slices.Index(listed, s.Name)
		if i < 0 {
			return nil, fmt.Errorf("%s must list %q, in applies or in rest with the reason", file, s.Name)
		}
		listed = slices.Delete(listed, i, i+1)
		if slices.Contains(list.Applies, s.Name) {
			selected = append(selected, s)
		}
	}
	if len(listed) > 0 {
		return nil, fmt.Errorf("%s must list each scenario once and nothing else: %q", file, listed)
	}
	return selected, nil
}
