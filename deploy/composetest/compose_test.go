package composetest_test

import (
	"bufio"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const root = "../.."

// settings that docker-compose.yml asks for and deploy/make-env prints.
var settings = []string{"POSTGRES_PASSWORD", "JWT_HS256_SECRET", "CORE_TOKEN"}

func load(t *testing.T, environment ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions(
		[]string{filepath.Join(root, "docker-compose.yml")},
		cli.WithWorkingDirectory(root),
		cli.WithEnv(environment),
		cli.WithInterpolation(true),
		cli.WithResolvedPaths(true),
	)
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(t.Context())
}

func project(t *testing.T) *types.Project {
	t.Helper()
	var environment []string
	for _, name := range settings {
		environment = append(environment, name+"=x")
	}
	loaded, err := load(t, environment...)
	if err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	return loaded
}

func service(t *testing.T, p *types.Project, name string) types.ServiceConfig {
	t.Helper()
	s, err := p.GetService(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ours returns the services that run one of the two programs, by name.
func ours(p *types.Project) map[string]types.ServiceConfig {
	found := make(map[string]types.ServiceConfig)
	for name, s := range p.Services {
		if s.Build != nil {
			found[name] = s
		}
	}
	return found
}

func value(s types.ServiceConfig, name string) string {
	if v := s.Environment[name]; v != nil {
		return *v
	}
	return ""
}

func TestServicesAreTheOnesThatAnInstallationNeeds(t *testing.T) {
	want := []string{"core", "gateway-1", "gateway-2", "haproxy", "migrate", "postgres", "prometheus", "redis"}
	if got := slices.Sorted(maps.Keys(project(t).Services)); !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
}

func TestMissingSettingIsAnErrorThatNamesTheFix(t *testing.T) {
	for _, missing := range settings {
		var environment []string
		for _, name := range settings {
			if name != missing {
				environment = append(environment, name+"=x")
			}
		}
		_, err := load(t, environment...)
		if err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), "deploy/make-env") {
			t.Errorf("without %s: %v; want an error that names it and deploy/make-env", missing, err)
		}
	}
}

func TestDependencies(t *testing.T) {
	const healthy, started, completed = types.ServiceConditionHealthy, types.ServiceConditionStarted,
		types.ServiceConditionCompletedSuccessfully
	gateway := map[string]string{"redis": healthy, "core": healthy}
	want := map[string]map[string]string{
		"postgres":   {},
		"redis":      {},
		"migrate":    {"postgres": healthy},
		"core":       {"postgres": healthy, "redis": healthy, "migrate": completed},
		"gateway-1":  gateway,
		"gateway-2":  gateway,
		"haproxy":    {"core": healthy, "gateway-1": healthy, "gateway-2": healthy},
		"prometheus": {"core": started, "gateway-1": started, "gateway-2": started},
	}
	p := project(t)
	for name, conditions := range want {
		got := make(map[string]string)
		for on, dependency := range service(t, p, name).DependsOn {
			got[on] = dependency.Condition
		}
		if !maps.Equal(got, conditions) {
			t.Errorf("%s depends on %v, want %v", name, got, conditions)
		}
		for on, condition := range conditions {
			if condition == healthy && service(t, p, on).HealthCheck == nil {
				t.Errorf("%s waits until %s is healthy, which has no health check", name, on)
			}
		}
	}
}

func TestLongRunningServicesAreCheckedRestartedAndStoppedGently(t *testing.T) {
	for name, s := range project(t).Services {
		if name == "migrate" {
			if s.Restart != types.RestartPolicyNo {
				t.Errorf("migrate runs once, but restarts %q", s.Restart)
			}
			continue
		}
		if s.HealthCheck == nil || len(s.HealthCheck.Test) < 2 {
			t.Errorf("%s has no health check", name)
		}
		if s.Restart != types.RestartPolicyUnlessStopped {
			t.Errorf("%s restarts %q", name, s.Restart)
		}
		if s.Build != nil && (s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) < 30*time.Second) {
			t.Errorf("%s has less than 30 s to drain", name)
		}
	}
}

func TestPublishedPortsAreUniqueAndLocal(t *testing.T) {
	seen := make(map[string]string)
	for name, s := range project(t).Services {
		for _, port := range s.Ports {
			if other, ok := seen[port.Published]; ok {
				t.Errorf("%s and %s both publish port %s", name, other, port.Published)
			}
			seen[port.Published] = name
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes port %s on %q, not only to this machine", name, port.Published, port.HostIP)
			}
		}
	}
	for _, name := range []string{"postgres", "redis", "core", "gateway-1", "gateway-2"} {
		if ports := service(t, project(t), name).Ports; len(ports) > 0 {
			t.Errorf("%s is published beside HAProxy: %v", name, ports)
		}
	}
}

// TestOnlyKnownCommandsAndSettings asks the programs themselves: their help names the environment variable of each flag.
func TestOnlyKnownCommandsAndSettings(t *testing.T) {
	directory := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", directory, "./cmd/core", "./cmd/gateway")
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	variables := regexp.MustCompile(`\(\$([A-Z0-9_]+)\)`)
	commands := []string{"core serve", "core migrate up", "gateway serve"}
	for name, s := range ours(project(t)) {
		if command := strings.Join(s.Command, " "); !slices.Contains(commands, command) {
			t.Errorf("%s runs %q, want one of %q", name, command, commands)
			continue
		}
		arguments := append(slices.Clone(s.Command[1:]), "--help")
		help, err := exec.CommandContext(t.Context(), filepath.Join(directory, s.Command[0]), arguments...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s --help: %v\n%s", strings.Join(s.Command, " "), err, help)
		}
		var known []string
		for _, match := range variables.FindAllStringSubmatch(string(help), -1) {
			known = append(known, match[1])
		}
		for variable := range s.Environment {
			if !slices.Contains(known, variable) {
				t.Errorf("%s sets %s, but %q knows only %v", name, variable, s.Command, known)
			}
		}
	}
}

func TestGatewaysDrainLongEnoughForHAProxyToNotice(t *testing.T) {
	const notice = 2 * 2 * time.Second // haproxy.cfg: inter 2s fall 2
	p := project(t)
	for _, name := range []string{"gateway-1", "gateway-2"} {
		s := service(t, p, name)
		delay, err := time.ParseDuration(value(s, "DRAIN_DELAY"))
		if err != nil || delay <= notice || time.Duration(*s.StopGracePeriod) <= 2*delay {
			t.Errorf("%s drains for %v (%v) and is killed after %v", name, delay, err, s.StopGracePeriod)
		}
		if value(s, "NAME") != name {
			t.Errorf("%s calls itself %q", name, value(s, "NAME"))
		}
	}
}

func TestProgramsReachEachOther(t *testing.T) {
	p := project(t)
	core := service(t, p, "core")
	for _, name := range []string{"gateway-1", "gateway-2"} {
		gateway := service(t, p, name)
		if value(gateway, "CORE_URL") != "http://core:"+port(value(core, "HTTP")) {
			t.Errorf("%s: CORE_URL is %q, the core listens on %q", name, value(gateway, "CORE_URL"), value(core, "HTTP"))
		}
		for _, same := range []string{"REDIS_URL", "JWT_HS256_SECRET", "NAMESPACE", "PARTITIONS"} {
			if value(gateway, same) != value(core, same) {
				t.Errorf("%s and core differ in %s: %q, %q", name, same, value(gateway, same), value(core, same))
			}
		}
	}
	if value(core, "DATABASE_URL") != value(service(t, p, "migrate"), "DATABASE_URL") {
		t.Error("core and migrate use different databases")
	}
	for name, s := range ours(p) {
		for _, listener := range []string{"HTTP", "ADMIN"} {
			if address := value(s, listener); address != "" && !strings.HasPrefix(address, "0.0.0.0:") {
				t.Errorf("%s: %s=%s is reached from its own container only", name, listener, address)
			}
		}
		check := ""
		if s.HealthCheck != nil {
			check = strings.Join(s.HealthCheck.Test, " ")
		}
		if admin := value(s, "ADMIN"); admin != "" && !strings.Contains(check, "http://127.0.0.1:"+port(admin)+"/healthz") {
			t.Errorf("%s: its health check %q does not ask its admin listener %s", name, check, admin)
		}
	}
	// A name is found only on a shared network.
	for a, names := range map[string][]string{
		"core": {"postgres", "redis"}, "migrate": {"postgres"}, "gateway-1": {"redis", "core"}, "gateway-2": {"redis", "core"},
		"haproxy": {"core", "gateway-1", "gateway-2"}, "prometheus": {"core", "gateway-1", "gateway-2", "haproxy"},
	} {
		for _, b := range names {
			if !shareNetwork(service(t, p, a), service(t, p, b)) {
				t.Errorf("%s cannot reach %s: no network in common", a, b)
			}
		}
	}
}

func shareNetwork(a, b types.ServiceConfig) bool {
	for name := range a.Networks {
		if _, ok := b.Networks[name]; ok {
			return true
		}
	}
	return false
}

func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }

func TestDataIsKeptAndConfigurationExists(t *testing.T) {
	p := project(t)
	kept := map[string]string{"postgres": "/var/lib/postgresql/data", "redis": "/data", "prometheus": "/prometheus"}
	for name, target := range kept {
		found := false
		for _, volume := range service(t, p, name).Volumes {
			if volume.Type == types.VolumeTypeVolume && volume.Target == target && volume.Source != "" {
				found = true
			}
		}
		if !found {
			t.Errorf("%s has no named volume at %s", name, target)
		}
	}
	if command := strings.Join(service(t, p, "redis").Command, " "); !strings.Contains(command, "--appendonly yes") {
		t.Errorf("redis runs %q, without an append-only file", command)
	}
	for name, s := range p.Services {
		for _, volume := range s.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			if info, err := os.Stat(volume.Source); err != nil || !info.Mode().IsRegular() {
				t.Errorf("%s mounts %s: %v", name, volume.Source, err)
			}
			if !volume.ReadOnly {
				t.Errorf("%s may write to %s", name, volume.Source)
			}
		}
	}
}

func TestImagesArePinned(t *testing.T) {
	p := project(t)
	images := make(map[string]string)
	for name, s := range p.Services {
		if s.Build == nil {
			images[name] = s.Image
		}
	}
	file, err := os.Open(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "FROM" {
			images["Dockerfile "+fields[1]] = fields[1]
		}
	}
	for name, image := range images {
		_, tag, ok := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
		if !ok || tag == "" || tag == "latest" {
			t.Errorf("%s: image %q has no fixed tag", name, image)
		}
	}
}
