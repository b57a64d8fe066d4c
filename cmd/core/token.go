package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

type tokenCmd struct {
	JWTHS256Secret string        `name:"jwt-hs256-secret" required:"" placeholder:"SECRET" help:"Shared secret to sign with, at least 32 bytes."`
	Sub            string        `required:"" placeholder:"WHO" help:"Who bears the token. When it has the form of an account and --account is absent, the token is for that account."`
	Account        []string      `placeholder:"ACCOUNT" help:"Account that the bearer may see, user:<id> or model:<id>; repeatable."`
	Scope          []string      `sep:"none" placeholder:"SCOPE" help:"Scopes separated by blanks or commas, or repeated: wallet:credit wallet:debit wallet:hold wallet:settle wallet:read events:all admin."`
	TTL            time.Duration `name:"ttl" default:"1h" help:"How long it is valid."`
	JWTIssuer      string        `name:"jwt-issuer" placeholder:"ISS" help:"iss, where the services want one."`
	JWTAudience    string        `name:"jwt-audience" placeholder:"AUD" help:"aud, where the services want one."`
}

// Help teaches by example.
func (tokenCmd) Help() string {
	return "For a client, and for a service:\n\n" +
		"  core token --sub user:u1\n" +
		"  core token --sub shop --scope 'wallet:hold wallet:read'\n\n" +
		"The secret is best given as JWT_HS256_SECRET."
}

var scopes = map[string]bool{
	auth.ScopeCredit: true, auth.ScopeDebit: true, auth.ScopeHold: true, auth.ScopeSettle: true,
	auth.ScopeRead: true, auth.ScopeEvents: true, auth.ScopeAdmin: true,
}

// Run prints the token and nothing else.
func (c tokenCmd) Run(env *cli.Env) error {
	if len(c.JWTHS256Secret) < 32 {
		return cli.Usage("--jwt-hs256-secret", "has %d bytes, at least 32 are needed", len(c.JWTHS256Secret))
	}
	if c.Sub == "" {
		return cli.Usage("--sub", "is empty: a token says who bears it, or no service takes it")
	}
	if c.TTL <= 0 {
		return cli.Usage("--ttl", "%s is not above zero", c.TTL)
	}
	for _, a := range c.Account {
		if _, err := wallet.ParseAccount(a); err != nil {
			return cli.Usage("--account", "%q is not user:<id> or model:<id>", a)
		}
	}
	words := strings.FieldsFunc(strings.Join(c.Scope, " "), func(r rune) bool { return r == ' ' || r == ',' })
	for _, w := range words {
		if !scopes[w] {
			return cli.Usage("--scope", "there is no scope %q", w)
		}
	}
	signed, err := auth.Sign([]byte(c.JWTHS256Secret), auth.Request{
		Subject: c.Sub, Accounts: c.Account, Scopes: words,
		Issuer: c.JWTIssuer, Audience: c.JWTAudience, TTL: c.TTL,
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Stdout, signed)
	return err
}
