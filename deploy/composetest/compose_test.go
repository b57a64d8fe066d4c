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

// settings are the variables that docker-compose.yml needs and deploy/make-env writes.
var settings = []string{"POSTGRES_PASSWORD", "REDIS_PASSWORD", "REALTIME_JWT_HS256_SECRET", "REALTIME_CORE_TOKEN"}

// loadProject loads docker-compose.yml with the given environment variables.
func loadProject(t *testing.T, environment ...string) (*types.Project, error) {
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

// mustLoad loads docker-compose.yml with a value for each setting.
func mustLoad(t *testing.T) *types.Project {
	t.Helper()
	var environment []string
	for _, name := range settings {
		environment = append(environment, name+"=x")
	}
	p, err := loadProject(t, environment...)
	if err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	return p
}

func findService(t *testing.T, p *types.Project, name string) types.ServiceConfig {
	t.Helper()
	s, err := p.GetService(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// builtServices returns the services that run one of the two programs, by name.
func builtServices(p *types.Project) map[string]types.ServiceConfig {
	found := make(map[string]types.ServiceConfig)
	for name, s := range p.Services {
		if s.Build != nil {
			found[name] = s
		}
	}
	return found
}

// setting returns the value of an environment variable of a service.
func setting(s types.ServiceConfig, name string) string {
	if v := s.Environment[name]; v != nil {
		return *v
	}
	return ""
}

func TestServices(t *testing.T) {
	want := []string{"core", "gateway-1", "gateway-2", "grafana", "haproxy", "migrate", "postgres", "prometheus", "redis"}
	got := slices.Sorted(maps.Keys(mustLoad(t).Services))
	if !slices.Equal(got, want) {
		t.Errorf("got services %v, want %v", got, want)
	}
}

func TestErrorOfMissingSettingNamesMakeEnv(t *testing.T) {
	for _, missing := range settings {
		t.Run(missing, func(t *testing.T) {
			var environment []string
			for _, name := range settings {
				if name != missing {
					environment = append(environment, name+"=x")
				}
			}
			_, err := loadProject(t, environment...)
			if err == nil {
				t.Fatal("got no error, want one")
			}
			for _, want := range []string{missing, "deploy/make-env"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestServicesWaitForTheirDependencies(t *testing.T) {
	const (
		healthy   = types.ServiceConditionHealthy
		started   = types.ServiceConditionStarted
		completed = types.ServiceConditionCompletedSuccessfully
	)
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
		"grafana":    {"prometheus": started},
	}
	p := mustLoad(t)
	for name, conditions := range want {
		got := make(map[string]string)
		for on, dependency := range findService(t, p, name).DependsOn {
			got[on] = dependency.Condition
		}
		if !maps.Equal(got, conditions) {
			t.Errorf("%s: got dependencies %v, want %v", name, got, conditions)
		}
		for on, condition := range conditions {
			if condition == healthy && findService(t, p, on).HealthCheck == nil {
				t.Errorf("%s waits until %s is healthy, so %[2]s must have a health check", name, on)
			}
		}
	}
}

func TestServicesHaveHealthCheckRestartPolicyAndGracePeriod(t *testing.T) {
	for name, s := range mustLoad(t).Services {
		if name == "migrate" {
			if s.Restart != types.RestartPolicyNo {
				t.Errorf("migrate: got restart policy %q, want %q", s.Restart, types.RestartPolicyNo)
			}
			continue
		}
		if s.HealthCheck == nil || len(s.HealthCheck.Test) < 2 {
			t.Errorf("%s must have a health check", name)
		}
		if s.Restart != types.RestartPolicyUnlessStopped {
			t.Errorf("%s: got restart policy %q, want %q", name, s.Restart, types.RestartPolicyUnlessStopped)
		}
		if s.Build != nil && (s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) < 30*time.Second) {
			t.Errorf("%s must have a grace period of at least 30 s", name)
		}
	}
}

func TestPublishedPortsAreUniqueAndLocal(t *testing.T) {
	p := mustLoad(t)
	seen := make(map[string]string)
	for name, s := range p.Services {
		for _, port := range s.Ports {
			other, taken := seen[port.Published]
			if taken {
				t.Errorf("%s and %s both publish port %s", name, other, port.Published)
			}
			seen[port.Published] = name
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: got port %s published on %q, want 127.0.0.1", name, port.Published, port.HostIP)
			}
		}
	}
	for _, name := range []string{"postgres", "redis", "core", "gateway-1", "gateway-2"} {
		ports := findService(t, p, name).Ports
		if len(ports) > 0 {
			t.Errorf("%s: got published ports %v, want none: clients must use HAProxy", name, ports)
		}
	}
}

// The help of the programs names the environment variable of each flag.
func TestCommandsAndSettingsExist(t *testing.T) {
	directory := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", directory, "./cmd/core", "./cmd/gateway")
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	variables := regexp.MustCompile(`\$([A-Z0-9_]+)[,)]`)
	commands := []string{"core serve", "core migrate up", "gateway serve"}
	for name, s := range builtServices(mustLoad(t)) {
		command := strings.Join(s.Command, " ")
		if !slices.Contains(commands, command) {
			t.Errorf("%s: got command %q, want one of %q", name, command, commands)
			continue
		}
		arguments := append(slices.Clone(s.Command[1:]), "--help")
		help, err := exec.CommandContext(t.Context(), filepath.Join(directory, s.Command[0]), arguments...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s --help: %v\n%s", command, err, help)
		}
		var known []string
		for _, match := range variables.FindAllStringSubmatch(string(help), -1) {
			known = append(known, match[1])
		}
		for variable := range s.Environment {
			if !slices.Contains(known, variable) {
				t.Errorf("%s: got setting %s, want one that %q has: %v", name, variable, command, known)
			}
		}
	}
}

func TestGatewaysDrainLongerThanHAProxyNeedsToNotice(t *testing.T) {
	const noticeTime = 2 * 2 * time.Second // haproxy.cfg: inter 2s fall 2
	p := mustLoad(t)
	for _, name := range []string{"gateway-1", "gateway-2"} {
		s := findService(t, p, name)
		delay, err := time.ParseDuration(setting(s, "REALTIME_DRAIN_DELAY"))
		if err != nil {
			t.Fatalf("%s: REALTIME_DRAIN_DELAY: %v", name, err)
		}
		if delay <= noticeTime {
			t.Errorf("%s: got REALTIME_DRAIN_DELAY %v, want more than %v", name, delay, noticeTime)
		}
		if got := time.Duration(*s.StopGracePeriod); got <= 2*delay {
			t.Errorf("%s: got grace period %v, want more than %v", name, got, 2*delay)
		}
		if got := setting(s, "REALTIME_NAME"); got != name {
			t.Errorf("%s: got REALTIME_NAME %q, want %q", name, got, name)
		}
	}
}

var gatewayNames = []string{"gateway-1", "gateway-2"}

func TestGatewaysUseTheSettingsOfTheCore(t *testing.T) {
	p := mustLoad(t)
	core := findService(t, p, "core")
	coreURL := "http://core:" + portOf(setting(core, "REALTIME_HTTP"))
	for _, name := range gatewayNames {
		gateway := findService(t, p, name)
		if got := setting(gateway, "REALTIME_CORE_URL"); got != coreURL {
			t.Errorf("%s: got REALTIME_CORE_URL %q, want %q", name, got, coreURL)
		}
		for _, variable := range []string{"REDIS_URL", "REALTIME_JWT_HS256_SECRET", "REALTIME_NAMESPACE", "REALTIME_PARTITIONS"} {
			if got, want := setting(gateway, variable), setting(core, variable); got != want {
				t.Errorf("%s: got %s %q, want %q as in the core", name, variable, got, want)
			}
		}
	}
}

func TestCoreAndMigrateUseTheSameDatabase(t *testing.T) {
	p := mustLoad(t)
	got := setting(findService(t, p, "migrate"), "DATABASE_URL")
	want := setting(findService(t, p, "core"), "DATABASE_URL")
	if got != want {
		t.Errorf("migrate: got DATABASE_URL %q, want %q as in the core", got, want)
	}
}

func TestListenersAreReachableFromOtherContainers(t *testing.T) {
	for name, s := range builtServices(mustLoad(t)) {
		for _, listener := range []string{"REALTIME_HTTP", "REALTIME_ADMIN"} {
			address := setting(s, listener)
			if address != "" && !strings.HasPrefix(address, "0.0.0.0:") {
				t.Errorf("%s: got %s %s, want an address on 0.0.0.0", name, listener, address)
			}
		}
	}
}

func TestHealthChecksUseTheAdminListener(t *testing.T) {
	for name, s := range builtServices(mustLoad(t)) {
		admin := setting(s, "REALTIME_ADMIN")
		if admin == "" {
			continue
		}
		check := ""
		if s.HealthCheck != nil {
			check = strings.Join(s.HealthCheck.Test, " ")
		}
		if want := "http://127.0.0.1:" + portOf(admin) + "/healthz"; !strings.Contains(check, want) {
			t.Errorf("%s: got health check %q, want %s in it", name, check, want)
		}
	}
}

func TestServicesShareANetworkWithTheServicesThatTheyUse(t *testing.T) {
	p := mustLoad(t)
	for a, names := range map[string][]string{
		"core":       {"postgres", "redis"},
		"migrate":    {"postgres"},
		"gateway-1":  {"redis", "core"},
		"gateway-2":  {"redis", "core"},
		"haproxy":    {"core", "gateway-1", "gateway-2"},
		"prometheus": {"core", "gateway-1", "gateway-2", "haproxy"},
		"grafana":    {"prometheus"},
	} {
		for _, b := range names {
			if !shareNetwork(findService(t, p, a), findService(t, p, b)) {
				t.Errorf("%s and %s must share a network", a, b)
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

// portOf returns the port of an address.
func portOf(address string) string { return address[strings.LastIndex(address, ":")+1:] }

func TestDataIsInNamedVolumes(t *testing.T) {
	p := mustLoad(t)
	for name, target := range map[string]string{
		"postgres":   "/var/lib/postgresql/data",
		"redis":      "/data",
		"prometheus": "/prometheus",
	} {
		isNamed := func(v types.ServiceVolumeConfig) bool {
			return v.Type == types.VolumeTypeVolume && v.Target == target && v.Source != ""
		}
		if !slices.ContainsFunc(findService(t, p, name).Volumes, isNamed) {
			t.Errorf("%s must have a named volume at %s", name, target)
		}
	}
}

func TestRedisHasAnAppendOnlyFile(t *testing.T) {
	command := strings.Join(findService(t, mustLoad(t), "redis").Command, " ")
	if want := "--appendonly yes"; !strings.Contains(command, want) {
		t.Errorf("redis: got command %q, want %q in it", command, want)
	}
}

func TestMountedConfigurationFilesExistAndAreReadOnly(t *testing.T) {
	for name, s := range mustLoad(t).Services {
		for _, volume := range s.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			info, err := os.Stat(volume.Source)
			if err != nil || !info.Mode().IsRegular() {
				t.Errorf("%s: %s must be a file: %v", name, volume.Source, err)
			}
			if !volume.ReadOnly {
				t.Errorf("%s: %s must be mounted read-only", name, volume.Source)
			}
		}
	}
}

func TestImagesArePinned(t *testing.T) {
	p := mustLoad(t)
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
			t.Errorf("%s: image %q must have a fixed tag", name, image)
		}
	}
}
