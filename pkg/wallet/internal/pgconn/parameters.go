package pgconn

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// driverParameters are the parameters that the driver understands.
var driverParameters = map[string]bool{
	"application_name": true, "client_encoding": true, "connect_timeout": true, "datestyle": true,
	"dbname": true, "fallback_application_name": true, "host": true, "hostaddr": true,
	"krbspn": true, "krbsrvname": true, "load_balance_hosts": true, "max_protocol_version": true,
	"min_protocol_version": true, "options": true, "passfile": true, "password": true, "port": true,
	"service": true, "ssl_max_protocol_version": true, "ssl_min_protocol_version": true,
	"sslcert": true, "sslinline": true, "sslkey": true, "sslmode": true, "sslnegotiation": true,
	"sslrootcert": true, "sslsni": true, "user": true,
}

// redundantParameters are the parameters without an effect, with the values that are accepted. A *
// stands for every value.
var redundantParameters = map[string][]string{
	"binary_parameters":    {"yes"},
	"channel_binding":      {"disable", "prefer"},
	"gssdelegation":        {"0"},
	"gssencmode":           {"disable", "prefer"},
	"keepalives":           {"*"}, // keep-alive has fixed times
	"keepalives_count":     {"*"},
	"keepalives_idle":      {"*"},
	"keepalives_interval":  {"*"},
	"sslcertmode":          {"allow", "disable"},
	"sslcompression":       {"0"},
	"target_session_attrs": {"any", "primary", "read-write"}, // Connector.Role is stricter than any
	"tcp_user_timeout":     {"*"},
}

// remedies say what to do about the parameters that cannot work.
var remedies = map[string]string{
	"channel_binding": "channel binding is not supported; use sslmode=verify-full, with sslrootcert=system for a public " +
		"certificate, which protects against the same attacks",
	"gssencmode":           "encryption by GSSAPI is not supported; use sslmode",
	"require_auth":         "remove it; use sslmode=verify-full to be sure of the server",
	"requirepeer":          "remove it",
	"requiressl":           "use sslmode=require, or better sslmode=verify-full",
	"sslcertmode":          "remove it; a client certificate is sent if sslcert is set",
	"sslcompression":       "remove it",
	"sslcrl":               "lists of revoked certificates are not supported; remove it",
	"sslcrldir":            "lists of revoked certificates are not supported; remove it",
	"sslpassword":          "the key of the client certificate must not be encrypted",
	"scram_client_key":     "use the password",
	"scram_server_key":     "use the password",
	"oauth_client_id":      "use a password or a client certificate",
	"oauth_issuer":         "use a password or a client certificate",
	"replication":          "remove it",
	"target_session_attrs": "must be read-write, because the ledger never reads from a standby",
	"gssdelegation":        "remove it",
	"gsslib":               "remove it",
	"binary_parameters":    "remove it",

	// Parameters of other client libraries, in the URLs that providers show.
	"connection_limit":        "use --db-connections and --db-read-connections",
	"default_query_exec_mode": "remove it; prepared statements are always used",
	"pgbouncer":               "remove it, and use the direct port of Postgres or a pooler in session mode",
	"pool_max_conns":          "use --db-connections and --db-read-connections",
	"pool_size":               "use --db-connections and --db-read-connections",
	"pool_timeout":            "remove it",
	"preparethreshold":        "remove it; prepared statements are always used",
	"schema":                  "use search_path",
	"socket_timeout":          "remove it",
	"ssl":                     "use sslmode=require, or better sslmode=verify-full",
	"sslaccept":               "use sslmode=require, or better sslmode=verify-full",
	"statement_cache_mode":    "remove it; prepared statements are always used",
	"uselibpqcompat":          "remove it",
}

// takeParameters removes the parameters that are not for the driver. It returns the settings of the
// server among them. It returns an error for a parameter that cannot work.
func takeParameters(parameters map[string]string) (map[string]string, error) {
	settings := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		value := parameters[name]
		if driverParameters[name] {
			continue
		}

		isVerified := parameters["sslmode"] == "verify-full"
		switch {
		case isRedundant(name, value):
		case name == "channel_binding" && isVerified: // the certificate proves the server
		case remedies[name] != "":
			return nil, fmt.Errorf("the parameter %s of the database URL cannot be used: %s", name, remedies[name])
		default:
			settings[name] = value
		}

		delete(parameters, name)
	}

	return settings, nil
}

func isRedundant(name, value string) bool {
	return slices.ContainsFunc(redundantParameters[name], func(accepted string) bool {
		return accepted == "*" || strings.EqualFold(accepted, value)
	})
}
