package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/doctor"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// doctorCmd has the flags of core serve, so that it looks at what a core would use.
type doctorCmd struct {
	serveCmd
	Cores         int      `default:"1" help:"Number of cores that run on the database, to compare their connections with its limit." once:""`
	CoreURL       string   `name:"core-url" placeholder:"URL" help:"URL of a core that must run. Default: the core at --http and --admin, if it runs." once:""`
	CoreAdmin     string   `name:"core-admin-url" placeholder:"URL" help:"URL of the admin listener of the core at --core-url." once:""`
	CoreTokenFile string   `placeholder:"FILE" help:"File with the token that gateways send to the core, to check its scopes and when it expires." once:""`
	Gateway       []string `name:"gateway-url" placeholder:"URL" help:"URL of a gateway, or of the load balancer in front of gateways, as clients use it. Repeatable." once:""`
	GatewayAdmin  []string `name:"gateway-admin-url" placeholder:"URL" help:"URL of the admin listener of a gateway. Repeatable." once:""`
	JSON          bool     `name:"json" help:"Print the report as JSON." once:""`
}

// Help explains the checks and the exit codes.
func (doctorCmd) Help() string {
	return "Takes the flags and variables of core serve and checks what the core would use: the database with its settings and the rights of the role, " +
		"Redis with its settings and the rights of the user, the layout, clocks, keys and certificates, and the core if it runs. With --gateway-url it also checks gateways.\n\n" +
		"It prints one line for each check: ok, warn, fail or skip, what it found, what to do, and where that is documented. It writes nothing. " +
		"All checks run, also if one fails.\n\n" +
		"  core doctor\n" +
		"  core doctor --cores 3 --core-token-file core-token --gateway-url https://live.example.com --gateway-admin-url http://10.0.0.5:9081\n\n" +
		"Exit codes: 0, no check failed; 1, a check failed; 2, wrong usage, or the checks were interrupted."
}

const (
	// doctorSubject is the sub of the tokens with which the doctor calls cores and gateways.
	doctorSubject = "realtime-doctor"
	// doctorTokenTTL is longer than all checks take.
	doctorTokenTTL = 5 * time.Minute
)

// Run makes the checks and prints the report.
func (c doctorCmd) Run(env *cli.Env) error {
	areas, err := c.areas()
	if err != nil {
		return err
	}
	report, err := doctor.Run(env.Context, areas...)
	if err != nil {
		return cli.Unable(err)
	}

	err = report.Write(env.Stdout, c.JSON)
	if err != nil {
		return cli.Unable(err)
	}
	return report.Err()
}

// areas validates the flags and returns what to check.
func (c doctorCmd) areas() ([]doctor.Area, error) {
	keys, err := c.Keys()
	if err != nil {
		return nil, err
	}
	err = c.validateLimits()
	if err != nil {
		return nil, err
	}
	if c.Cores < 1 {
		return nil, cli.Usage("--cores", "must be at least 1, got %d", c.Cores)
	}
	coreToken, err := readTokenFile(c.CoreTokenFile)
	if err != nil {
		return nil, err
	}

	// healthConnections are the connections of a core besides the two pools of the flags.
	const healthConnections = 3
	verifier, verifierError := c.Verifier(slog.New(slog.DiscardHandler))
	areas := []doctor.Area{
		doctor.Database(doctor.DatabaseConfig{
			URL:          c.DatabaseURL,
			Keys:         keys,
			MaxConns:     c.DBConnections + c.DBReads + healthConnections,
			Cores:        c.Cores,
			IsUnverified: isUnverifiedDatabase(c.DatabaseURL, os.Getenv("PGSSLMODE")),
		}),
		doctor.Redis(doctor.RedisConfig{
			URL:    c.RedisURL,
			Keys:   keys,
			Rights: doctor.CoreRights,
		}),
		doctor.Tokens(doctor.TokenConfig{
			Verifier:      verifier,
			VerifierError: verifierError,
			PublicKeys:    c.JWTPublicKey,
			JWKSURL:       c.JWKSURL,
			TLSCert:       c.TLSCert,
			CoreToken:     coreToken,
		}),
		doctor.Core(c.coreConfig(keys, coreToken)),
	}
	return append(areas, c.gatewayAreas()...), nil
}

// coreConfig describes the core at --core-url, which must run, or the one of the flags, which need not.
func (c doctorCmd) coreConfig(keys bus.Keys, coreToken string) doctor.CoreConfig {
	cfg := doctor.CoreConfig{
		URL:      c.CoreURL,
		AdminURL: c.CoreAdmin,
		Token:    coreToken,
		Keys:     keys,
		MustRun:  c.CoreURL != "",
	}
	if cfg.Token == "" {
		cfg.Token = c.signToken(auth.ScopeRead)
	}
	switch {
	case cfg.URL != "":
	case c.TLSCert != "":
		cfg.SkipCause = "the certificate is not for an address; give --core-url"
	default:
		cfg.URL = "http://" + localAddress(c.HTTP)
		cfg.AdminURL = "http://" + localAddress(c.Admin)
	}
	return cfg
}

// gatewayAreas returns an area for each URL of a gateway.
func (c doctorCmd) gatewayAreas() []doctor.Area {
	var areas []doctor.Area
	for _, url := range c.Gateway {
		areas = append(areas, doctor.Gateway(nameArea("gateway", len(areas)), doctor.GatewayConfig{
			URL:   url,
			Token: c.signToken(),
		}))
	}
	for i, url := range c.GatewayAdmin {
		areas = append(areas, doctor.Gateway(nameArea("gateway-admin", i), doctor.GatewayConfig{AdminURL: url}))
	}
	return areas
}

// nameArea numbers the areas of several servers from the second one on.
func nameArea(name string, before int) string {
	if before == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, before+1)
}

// signToken returns a token for a call of the doctor, or "" without a shared secret.
func (c doctorCmd) signToken(scopes ...string) string {
	token, err := auth.Sign([]byte(c.JWTHS256Secret), auth.Request{
		Subject:  doctorSubject,
		Scopes:   scopes,
		Issuer:   c.JWTIssuer,
		Audience: c.JWTAudience,
		TTL:      doctorTokenTTL,
	})
	if err != nil {
		return ""
	}
	return token
}

// localAddress returns the address under which this machine reaches a listener of its own.
func localAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	if err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listen
}

// readTokenFile returns the token in a file, or "" without a file.
func readTokenFile(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return "", cli.Usage("--core-token-file", "%v", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return "", cli.Usage("--core-token-file", "the file must not be empty")
	}
	return token, nil
}
