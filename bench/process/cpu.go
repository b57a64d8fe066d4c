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

// tick is the unit of times in /proc: USER_HZ, which is 100 on every platform
// that Go runs on.
const tick = time.Second / 100

// stat is what /proc/PID/stat tells of a process.
type stat struct {
	parent  int
	own     time.Duration // CPU time of its threads
	reaped  time.Duration // of its children that have exited
	command string
}

// CPU is the CPU time that a process has used.
func CPU(pid int) (time.Duration, error) {
	s, err := readStat(pid)
	return s.own, err
}

// Parent is the process that started another.
func Parent(pid int) (int, error) {
	s, err := readStat(pid)
	return s.parent, err
}

// TreeCPU is the CPU time of a process and all below it, those that have exited
// included.
func TreeCPU(root int) (time.Duration, error) {
	all, err := readAll()
	if err != nil {
		return 0, err
	}
	if _, ok := all[root]; !ok {
		return 0, fmt.Errorf("there is no process %d", root)
	}
	var sum time.Duration
	for pid, s := range all {
		if below(all, pid, root) {
			sum += s.own + s.reaped
		}
	}
	return sum, nil
}

// below tells whether root is pid or among its parents.
func below(all map[int]stat, pid, root int) bool {
	for range len(all) {
		if pid == root {
			return true
		}
		s, ok := all[pid]
		if !ok {
			return false
		}
		pid = s.parent
	}
	return false
}

func readAll() (map[int]stat, error) {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all := make(map[int]stat, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil { // else it has just ended
			all[pid] = s
		}
	}
	return all, nil
}

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// parseStat reads proc(5)'s stat: "pid (comm) state ppid …", utime, stime,
// cutime and cstime being the fields 14 to 17. The command may hold blanks and
// parentheses.
func parseStat(data []byte) (stat, error) {
	open, shut := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 0 || shut < open {
		return stat{}, errors.New("no stat of a process")
	}
	fields := strings.Fields(string(data[shut+1:])) // from field 3 on
	if len(fields) < 15 {
		return stat{}, errors.New("the stat of a process is cut off")
	}
	var n [5]int64
	for i, field := range [...]string{fields[1], fields[11], fields[12], fields[13], fields[14]} {
		var err error
		if n[i], err = strconv.ParseInt(field, 10, 64); err != nil {
			return stat{}, fmt.Errorf("stat of a process: %w", err)
		}
	}
	return stat{
		parent: int(n[0]), command: string(data[open+1 : shut]),
		own: time.Duration(n[1]+n[2]) * tick, reaped: time.Duration(n[3]+n[4]) * tick,
	}, nil
}

// Machine is CPU time of all processors since the start.
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

// parseMachine reads the first line of proc(5)'s /proc/stat: user, nice, system,
// idle, iowait, irq, softirq, steal.
func parseMachine(data []byte) (Machine, error) {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 9 || fields[0] != "cpu" {
		return Machine{}, errors.New("/proc/stat does not begin with the CPU's times")
	}
	var n [8]time.Duration
	for i := range n {
		v, err := strconv.ParseInt(fields[i+1], 10, 64)
		if err != nil {
			return Machine{}, fmt.Errorf("/proc/stat: %w", err)
		}
		n[i] = time.Duration(v) * tick
	}
	return Machine{Busy: n[0] + n[1] + n[2] + n[5] + n[6], Stolen: n[7]}, nil
}
