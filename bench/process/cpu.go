package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc. USER_HZ is 100 on all platforms of Go.
const clockTick = time.Second / 100

// stat holds the fields of /proc/PID/stat that this package needs.
type stat struct {
	parent  int
	own     time.Duration // CPU time of its threads
	reaped  time.Duration // CPU time of its children that have exited
	command string
}

// CPU returns the CPU time that a process has used.
func CPU(pid int) (time.Duration, error) {
	s, err := readStat(pid)
	return s.own, err
}

// Parent returns the id of the parent process.
func Parent(pid int) (int, error) {
	s, err := readStat(pid)
	return s.parent, err
}

// TreeCPU returns the CPU time of a process and all its descendants, including those that have
// exited.
func TreeCPU(root int) (time.Duration, error) {
	processes, err := readProcesses()
	if err != nil {
		return 0, err
	}
	if _, ok := processes[root]; !ok {
		return 0, fmt.Errorf("there is no process %d", root)
	}

	var sum time.Duration
	for pid, s := range processes {
		if isDescendant(processes, pid, root) {
			sum += s.own + s.reaped
		}
	}

	return sum, nil
}

// isDescendant reports whether pid is root or one of its descendants.
func isDescendant(processes map[int]stat, pid, root int) bool {
	for range len(processes) {
		if pid == root {
			return true
		}

		s, ok := processes[pid]
		if !ok {
			return false
		}

		pid = s.parent
	}

	return false
}

// readProcesses reads all processes, by process id.
func readProcesses() (map[int]stat, error) {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}

	processes := make(map[int]stat, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}

		s, err := readStat(pid)
		if err == nil { // the process may have ended
			processes[pid] = s
		}
	}

	return processes, nil
}

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// parseStat parses /proc/PID/stat as described in proc(5): "pid (comm) state ppid …". Fields 14 to
// 17 are utime, stime, cutime and cstime. The command may contain spaces and parentheses.
func parseStat(data []byte) (stat, error) {
	begin := bytes.IndexByte(data, '(')
	end := bytes.LastIndexByte(data, ')')
	if begin < 0 || end < begin {
		return stat{}, errors.New("the stat of a process must have a command in parentheses")
	}

	fields := strings.Fields(string(data[end+1:])) // begins with field 3
	if len(fields) < 15 {
		return stat{}, errors.New("the stat of a process must have at least 17 fields")
	}

	var n [5]int64
	for i, field := range [...]string{fields[1], fields[11], fields[12], fields[13], fields[14]} {
		var err error
		n[i], err = strconv.ParseInt(field, 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("parse the stat of a process: %w", err)
		}
	}

	return stat{
		parent:  int(n[0]),
		own:     time.Duration(n[1]+n[2]) * clockTick,
		reaped:  time.Duration(n[3]+n[4]) * clockTick,
		command: string(data[begin+1 : end]),
	}, nil
}

// Machine is the CPU time of all processors since the machine started.
type Machine struct {
	Busy   time.Duration // used by any process or the kernel
	Stolen time.Duration // given by the hypervisor to other machines
}

// ReadMachine reads the machine's CPU times.
func ReadMachine() (Machine, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Machine{}, err
	}
	return parseMachine(data)
}

// parseMachine parses the first line of /proc/stat as described in proc(5): user, nice, system,
// idle, iowait, irq, softirq, steal.
func parseMachine(data []byte) (Machine, error) {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 9 || fields[0] != "cpu" {
		return Machine{}, errors.New("/proc/stat must begin with the CPU times")
	}

	var n [8]time.Duration
	for i := range n {
		v, err := strconv.ParseInt(fields[i+1], 10, 64)
		if err != nil {
			return Machine{}, fmt.Errorf("parse /proc/stat: %w", err)
		}

		n[i] = time.Duration(v) * clockTick
	}

	return Machine{
		Busy:   n[0] + n[1] + n[2] + n[5] + n[6],
		Stolen: n[7],
	}, nil
}
