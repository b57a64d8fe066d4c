package report

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// Environment describes a measurement: the machine, the versions and the command.
type Environment struct {
	Date     string `json:"date"`
	Commit   string `json:"commit"`
	Other    string `json:"other,omitempty"` // commit of the other build, if one takes part
	CPU      string `json:"cpu"`
	CPUs     int    `json:"cpus"`
	OS       string `json:"os"`
	Go       string `json:"go"`
	Postgres string `json:"postgres"`
	Redis    string `json:"redis"`
	Command  string `json:"command"`
}

// NewEnvironment describes this machine. The command is scripts/bench NAME with the arguments.
func NewEnvironment(name string, args []string) Environment {
	return Environment{
		Date:    time.Now().UTC().Format(time.DateOnly),
		CPU:     cpuModel(),
		CPUs:    runtime.NumCPU(),
		OS:      runtime.GOOS + "/" + runtime.GOARCH,
		Go:      runtime.Version(),
		Command: strings.Join(append([]string{"scripts/bench", name}, args...), " "),
	}
}

// String returns a paragraph of Markdown.
func (e *Environment) String() string {
	commit := e.Commit
	if e.Other != "" {
		commit += ", the other build " + e.Other
	}
	return fmt.Sprintf("`%s` on %s, commit %s: %d virtual cores of %s, %s, %s, Postgres %s, Redis %s.",
		e.Command, e.Date, commit, e.CPUs, e.CPU, e.OS, e.Go, e.Postgres, e.Redis)
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "an unknown processor"
	}

	for line := range strings.Lines(string(info)) {
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}

	return "an unknown processor"
}
