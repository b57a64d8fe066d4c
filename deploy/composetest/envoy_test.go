package composetest_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/req_without_query/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// readEnvoy reads deploy/envoy.yaml as Envoy does: an unknown field or a wrong type is an error.
func readEnvoy(t *testing.T) *bootstrapv3.Bootstrap {
	t.Helper()
	var content any
	err := yaml.Unmarshal([]byte(readFile(t, "deploy/envoy.yaml")), &content)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	bootstrap := new(bootstrapv3.Bootstrap)
	err = protojson.Unmarshal(text, bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	return bootstrap
}

// visitMessages calls visit for each message, also for those in typed_config.
func visitMessages(t *testing.T, m protoreflect.ProtoMessage, visit func(path string, m protoreflect.ProtoMessage)) {
	t.Helper()
	err := protorange.Range(m.ProtoReflect(), func(v protopath.Values) error {
		found, isMessage := v.Index(-1).Value.Interface().(protoreflect.Message)
		if isMessage {
			visit(v.Path.String(), found.Interface())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The file follows the rules of Envoy's API: ranges, required fields, known values.
func TestEnvoyFollowsTheRulesOfItsAPI(t *testing.T) {
	checked := 0
	visitMessages(t, readEnvoy(t), func(path string, m protoreflect.ProtoMessage) {
		rules, hasRules := m.(interface{ Validate() error })
		if !hasRules {
			return
		}
		checked++
		err := rules.Validate()
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
	})
	if checked < 50 {
		t.Errorf("got %d messages with rules, want at least 50", checked)
	}
}

func TestEnvoyTimeoutsAreLongerThanTwoHeartbeats(t *testing.T) {
	managers := 0
	visitMessages(t, readEnvoy(t), func(path string, m protoreflect.ProtoMessage) {
		manager, ok := m.(*httpv3.HttpConnectionManager)
		if !ok {
			return
		}
		managers++
		idle := manager.GetStreamIdleTimeout().AsDuration()
		if idle <= 2*heartbeat {
			t.Errorf("%s: got stream_idle_timeout %s, want more than %s", path, idle, 2*heartbeat)
		}
		for _, route := range manager.GetRouteConfig().GetVirtualHosts()[0].GetRoutes() {
			action := route.GetRoute()
			timeout := action.GetTimeout()
			isEndless := timeout != nil && timeout.AsDuration() == 0
			if action.GetCluster() == "gateways" && !isEndless {
				t.Errorf("%s: route %v: got timeout %v, want 0s", path, route.GetMatch(), timeout)
			}
		}
	})
	if managers != 2 {
		t.Errorf("got %d listeners for HTTP, want 2", managers)
	}
}

func TestEnvoyUsesTheServicesAndTheirPorts(t *testing.T) {
	p := mustLoad(t)
	want := map[string][]string{"core": {"core"}, "gateways": {"gateway-1", "gateway-2"}}
	for _, cluster := range readEnvoy(t).GetStaticResources().GetClusters() {
		var addresses, services []string
		for _, endpoint := range cluster.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints() {
			socket := endpoint.GetEndpoint().GetAddress().GetSocketAddress()
			services = append(services, socket.GetAddress())
			addresses = append(addresses, portText(socket.GetPortValue()),
				portText(endpoint.GetEndpoint().GetHealthCheckConfig().GetPortValue()))
		}
		if !slices.Equal(services, want[cluster.GetName()]) {
			t.Errorf("cluster %s: got %v, want %v", cluster.GetName(), services, want[cluster.GetName()])
			continue
		}
		var ports []string
		for _, name := range services {
			s := findService(t, p, name)
			ports = append(ports, portOf(setting(s, "REALTIME_HTTP")), portOf(setting(s, "REALTIME_ADMIN")))
		}
		if !slices.Equal(addresses, ports) {
			t.Errorf("cluster %s: got ports %v, want %v", cluster.GetName(), addresses, ports)
		}
		check := cluster.GetHealthChecks()[0]
		if got := check.GetHttpHealthCheck().GetPath(); got != "/readyz" {
			t.Errorf("cluster %s: got a health check of %q, want /readyz", cluster.GetName(), got)
		}
		if got := check.GetInterval().AsDuration(); got > 2*time.Second {
			t.Errorf("cluster %s: got a health check each %s, want 2s", cluster.GetName(), got)
		}
	}
}

func portText(port uint32) string { return strconv.FormatUint(uint64(port), 10) }
