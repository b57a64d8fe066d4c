package main

import (
	"log/slog"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/doctor"
)

// doctorCmd has the flags of gateway serve, so that it looks at what a gateway would use.
type doctorCmd struct {
	serveCmd
	JSON bool `name:"json" help:"Print the report as JSON." once:""`
}

// Help explains the checks and the exit codes.
func (doctorCmd) Help() string {
	return "Takes the flags and variables of gateway serve and checks what the gateway would use: Redis with its settings and the rights of the user, " +
		"the layout, clocks, keys and certificates, and the core with --core-token. It prints one line for each check and writes nothing.\n\n" +
		"core doctor checks the ledger's database, and gateways that run.\n\n" +
		"Exit codes: 0, no check failed; 1, a check failed; 2, wrong usage, or the checks were interrupted."
}

// Run makes the checks and prints the report.
func (c doctorCmd) Run(env *cli.Env) error {
	cfg, err := c.gatewayConfig()
	if err != nil {
		return err
	}
	verifier, verifierError := c.Verifier(slog.New(slog.DiscardHandler))
	report, err := doctor.Run(env.Context,
		doctor.Redis(doctor.RedisConfig{
			URL:    c.RedisURL,
			Keys:   cfg.Keys,
			Rights: doctor.GatewayRights,
		}),
		doctor.Tokens(doctor.TokenConfig{
			Verifier:      verifier,
			VerifierError: verifierError,
			PublicKeys:    c.JWTPublicKey,
			JWKSURL:       c.JWKSURL,
			TLSCert:       c.TLSCert,
			CoreToken:     c.CoreToken,
		}),
		doctor.Core(doctor.CoreConfig{
			URL:     c.CoreURL,
			Token:   c.CoreToken,
			Keys:    cfg.Keys,
			MustRun: true,
		}),
	)
	if err != nil {
		return cli.Unable(err)
	}

	err = report.Write(env.Stdout, c.JSON)
	if err != nil {
		return cli.Unable(err)
	}
	return report.Err()
}
