package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

type tokenCmd struct {
	JWTHS256Secret     string        `name:"jwt-hs256-secret" required:"" placeholder:"SECRET" help:"Shared secret to sign with, at least 32 bytes."`
	JWTHS256SecretFile string        `name:"jwt-hs256-secret-file" placeholder:"FILE" help:"File with the shared secret."`
	Sub                string        `required:"" placeholder:"SUB" help:"Subject (sub) of the token. If it is an account and --account is absent, the token is for that account." once:""`
	Account            []string      `placeholder:"ACCOUNT" help:"Account that the bearer may see, user:<id> or model:<id>. Repeatable." once:""`
	Scope              []string      `sep:"none" placeholder:"SCOPE" help:"Scopes, separated by spaces or commas: wallet:credit wallet:debit wallet:hold wallet:settle wallet:read events:all admin. Repeatable." once:""`
	TTL                time.Duration `name:"ttl" default:"1h" help:"How long the token is valid." once:""`
	JWTIssuer          string        `name:"jwt-issuer" placeholder:"ISS" help:"Issuer (iss), if the services require one."`
	JWTAudience        string        `name:"jwt-audience" placeholder:"AUD" help:"Audience (aud), if the services require one."`
}

// Help returns examples.
func (tokenCmd) Help() string {
	return "A token for a client, and one for a service:\n\n" +
		"  core token --sub user:u1\n" +
		"  core token --sub shop --scope 'wallet:hold wallet:read'\n\n" +
		"Prefer --jwt-hs256-secret-file or REALTIME_JWT_HS256_SECRET for the secret, since flags are visible in the process list."
}

// minSecretBytes is the least size of a secret for HS256.
const minSecretBytes = 32

var knownScopes = []string{
	auth.ScopeCredit,
	auth.ScopeDebit,
	auth.ScopeHold,
	auth.ScopeSettle,
	auth.ScopeRead,
	auth.ScopeEvents,
	auth.ScopeAdmin,
}

// Run prints the token and nothing else.
func (c tokenCmd) Run(env *cli.Env) error {
	err := c.validate()
	if err != nil {
		return err
	}
	scopes, err := c.parseScopes()
	if err != nil {
		return err
	}
	signed, err := auth.Sign([]byte(c.JWTHS256Secret), auth.Request{
		Subject:  c.Sub,
		Accounts: c.Account,
		Scopes:   scopes,
		Issuer:   c.JWTIssuer,
		Audience: c.JWTAudience,
		TTL:      c.TTL,
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Stdout, signed)
	return err
}

func (c tokenCmd) validate() error {
	switch {
	case len(c.JWTHS256Secret) < minSecretBytes:
		return cli.Usage("--jwt-hs256-secret", "must have at least %d bytes, got %d", minSecretBytes, len(c.JWTHS256Secret))
	case c.Sub == "":
		return cli.Usage("--sub", "must not be empty, since services refuse a token without a subject")
	case c.TTL <= 0:
		return cli.Usage("--ttl", "must be positive, got %s", c.TTL)
	}
	for _, account := range c.Account {
		_, err := wallet.ParseAccount(account)
		if err != nil {
			return cli.Usage("--account", "must be user:<id> or model:<id>, got %q", account)
		}
	}
	return nil
}

// parseScopes returns the scopes of all --scope flags.
func (c tokenCmd) parseScopes() ([]string, error) {
	isSeparator := func(r rune) bool { return r == ' ' || r == ',' }
	names := strings.FieldsFunc(strings.Join(c.Scope, " "), isSeparator)
	for _, name := range names {
		if !slices.Contains(knownScopes, name) {
			return nil, cli.Usage("--scope", "must be one of %s, got %q", strings.Join(knownScopes, ", "), name)
		}
	}
	return names, nil
}
