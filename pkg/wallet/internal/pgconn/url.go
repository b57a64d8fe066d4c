package pgconn

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/lib/pq"
)

// Target is where a database URL leads, and how.
type Target struct {
	hosts        []pq.Config // one for each host, in the order of the URL
	isBalanced   bool        // the hosts are tried in a random order
	setupTimeout time.Duration
	settings     map[string]string // settings of the server in the URL, by lower-case name
	options      string            // command-line options for the server
	hasName      bool              // the URL has an application name
}

// errMalformedURL does not quote the URL, because that would show the password.
var errMalformedURL = errors.New("the database URL must be postgres://user:password@host:port/database or sqlite:PATH; " +
	"special characters in the user and the password must be percent-encoded")

// ParseURL parses a database URL. It accepts the forms of libpq and the parameters of managed
// Postgres. It refuses what cannot work, and says what to do instead.
func ParseURL(rawURL string) (*Target, error) {
	parameters, err := splitURL(rawURL)
	if err != nil {
		return nil, err
	}

	settings, err := takeParameters(parameters)
	if err != nil {
		return nil, err
	}

	config, err := pq.NewConfig(formatParameters(parameters))
	if err != nil {
		return nil, fmt.Errorf("the parameters of the database URL cannot be used: %w", err)
	}

	t := &Target{
		setupTimeout: defaultSetupTimeout,
		settings:     settings,
		options:      config.Options,
		hasName:      config.ApplicationName != "",
		isBalanced:   config.LoadBalanceHosts == pq.LoadBalanceHostsRandom,
	}
	if config.ConnectTimeout > 0 {
		t.setupTimeout = config.ConnectTimeout
	}

	config.ConnectTimeout = t.setupTimeout
	config.BinaryParameters = true // the arrays of the ledger need it
	config.TargetSessionAttrs = "" // Connector.Role says what a server must be
	config.Runtime = nil
	t.addHosts(config)
	return t, nil
}

// addHosts adds a configuration for each host.
func (t *Target) addHosts(config pq.Config) {
	others := config.Multi
	config.Multi = nil
	t.hosts = append(t.hosts, config)
	for _, other := range others {
		next := config.Clone()
		next.Host = other.Host
		next.Hostaddr = other.Hostaddr
		next.Port = other.Port
		t.hosts = append(t.hosts, next)
	}
}

// describeHost returns the host and port of a configuration.
func describeHost(config *pq.Config) string {
	host := config.Host
	if config.Hostaddr.IsValid() {
		host = config.Hostaddr.String()
	}

	return net.JoinHostPort(host, strconv.Itoa(int(config.Port)))
}

// splitURL returns the parts and parameters of a URL as parameters of libpq.
func splitURL(rawURL string) (map[string]string, error) {
	scheme, rest, found := strings.Cut(rawURL, "://")
	if !found || (scheme != "postgres" && scheme != "postgresql") {
		return nil, errMalformedURL
	}

	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	userinfo := ""
	hosts := authority
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		userinfo = authority[:at]
		hosts = authority[at+1:]
	}

	user, password, _ := strings.Cut(userinfo, ":")
	parameters := map[string]string{
		"user":     user,
		"password": password,
		"dbname":   database,
	}
	for name, value := range parameters {
		text, err := url.PathUnescape(value)
		if err != nil {
			return nil, errMalformedURL
		}

		parameters[name] = text
	}

	err := splitHosts(parameters, hosts)
	if err != nil {
		return nil, err
	}

	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, errMalformedURL
	}

	if values.Has("host") || values.Has("hostaddr") {
		delete(parameters, "host")
		delete(parameters, "port")
	}

	for name := range values {
		parameters[canonicalName(name)] = values.Get(name)
	}

	return parameters, nil
}

// splitHosts sets the parameters host and port from the part host1:port1,host2:port2 of a URL.
func splitHosts(parameters map[string]string, text string) error {
	if text == "" {
		return nil
	}

	var hosts, ports []string
	for host := range strings.SplitSeq(text, ",") {
		name, port, err := splitHost(host)
		if err != nil {
			return err
		}

		hosts = append(hosts, name)
		ports = append(ports, port)
	}

	parameters["host"] = strings.Join(hosts, ",")
	parameters["port"] = strings.Join(ports, ",")
	return nil
}

// splitHost splits host:port. The host may be an IPv6 address in brackets, or the percent-encoded
// directory of a Unix socket.
func splitHost(text string) (host, port string, err error) {
	port = "5432"
	colon := strings.LastIndex(text, ":")
	if colon > strings.LastIndex(text, "]") {
		port = text[colon+1:]
		text = text[:colon]
	}

	_, err = strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", "", errMalformedURL // the port may be a part of a password
	}

	host, err = url.PathUnescape(strings.Trim(text, "[]"))
	if err != nil || strings.ContainsFunc(host, isNotOfHosts) {
		return "", "", errMalformedURL
	}

	return host, port, nil
}

func isNotOfHosts(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '@' }

func canonicalName(name string) string {
	name = strings.ToLower(name)
	switch name {
	case "database":
		return "dbname"
	case "tz":
		return "timezone"
	}

	return name
}

// formatParameters returns a connection string of libpq. It leaves out empty values.
func formatParameters(parameters map[string]string) string {
	escaper := strings.NewReplacer(`'`, `\'`, `\`, `\\`)
	var words []string
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		value := parameters[name]
		if value != "" {
			words = append(words, name+"='"+escaper.Replace(value)+"'")
		}
	}

	return strings.Join(words, " ")
}

// has reports whether the URL sets a setting of the server itself.
func (t *Target) has(setting string) bool {
	_, ok := t.settings[setting]
	if setting == "application_name" {
		return t.hasName
	}

	inOptions := strings.Contains(t.options, "-c "+setting+"=") || strings.Contains(t.options, "-c"+setting+"=") ||
		strings.Contains(t.options, "--"+setting+"=") || strings.Contains(t.options, "--"+strings.ReplaceAll(setting, "_", "-")+"=")
	return ok || inOptions
}
